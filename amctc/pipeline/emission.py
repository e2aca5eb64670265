"""What a target gets to know beside the graph: how the files that it makes came to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version


def _tool() -> str:
    return f"amctc {version('amctc')}"


@dataclass(frozen=True)
class Emission:
    """How a graph was made, for the files that tell it. `Emission()` tells only which program wrote them.

    `policy_sha256` is the SHA-256 of the policy's text in UTF-8, in hexadecimal: that of its file, a byte order mark
    left out. It is None for a policy that was made in Python, and where there is none, as a record gave the scales.
    `tool` is the program and its version, as `amctc 1.2.3`. `pipeline` is the text of the passes that ran, None where
    it is not known. `prefix` is what the files' names begin with, for one that names another.

    Equal inputs give an equal `Emission`: it has neither a time nor a folder.
    """

    policy_sha256: str | None = None
    tool: str = field(default_factory=_tool)
    pipeline: str | None = None
    prefix: str = ""
