"""A policy file to a `Policy`, in whichever of the two languages it is written."""

from __future__ import annotations

from pathlib import Path

from amctc.policy.flavours import CAFFE, Flavour
from amctc.policy.rules import Policy
from amctc.source import SourceFile
from amctc.text.bulk import building
from amctc.text.files import read_text

MAX_POLICY_BYTES = 8 * 1024 * 1024
"""A layer config of ten thousand layers has about five megabytes, which take two seconds to read."""


def read_policy_file(path: str | Path, flavour: str | None = None, usual: Flavour = CAFFE) -> Policy:
    """See `Policy.from_file`."""
    return read_policy(read_text(path, MAX_POLICY_BYTES), flavour, usual)


def read_policy(source: SourceFile, flavour: str | None = None, usual: Flavour = CAFFE) -> Policy:
    """See `Policy.from_text`."""
    if is_json(source):
        from amctc.policy.read_json import read_json_config as reader
    else:
        from amctc.policy.read_cfg import read_cfg as reader
    with building():
        return reader(source, flavour, usual)


def is_json(source: SourceFile) -> bool:
    """Whether a text is a JSON layer config rather than a .cfg: by its first character, and by its name in doubt."""
    first = _first_character(source.text)
    if first == "{":
        return True
    doubtful = not (first.isalnum() or first == "_")
    return doubtful and source.name.lower().endswith(".json")


def _first_character(text: str) -> str:
    at = 0
    while at < len(text):
        if text[at] == "#":
            end = text.find("\n", at)
            at = end if end >= 0 else len(text)
        elif text[at].isspace():
            at += 1
        else:
            return text[at]
    return ""
