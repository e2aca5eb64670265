"""The table of diagnostic codes: what each means, why it is bad, a bad example and the mended one.

The entries are the `.toml` files of this folder, one for each area. `docs/codes.md` is written from
them, `amctc check --code` prints one. Every code that the program can give has an entry.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal, TypeAlias, get_args

from amctc.diagnostics import did_you_mean, error

Form: TypeAlias = Literal[
    "cfg", "json", "prototxt", "proto", "pipeline", "preprocess", "shell", "python", "csv", "words"
]
"""The language of the examples of a code; `words` is for what has none."""

AREAS: Final[Mapping[str, str]] = {
    "AM1": "Reading text: encodings, syntax, `.proto` schemas",
    "AM2": "Policies",
    "AM3": "Models",
    "AM4": "Data, calibration and running",
    "AM5": "Passes and pipelines",
    "AM6": "Records",
    "AM7": "Targets and the files they write",
    "AM8": "The command line, and the keys of `aclgrph_calibration`",
    "AM9": "Training, and the modules of PyTorch",
}
"""What codes are about, by how they begin."""

_RUN: Final[frozenset[str]] = frozenset({"cfg", "json", "prototxt", "proto", "pipeline", "preprocess"})


@dataclass(frozen=True)
class Code:
    """The entry of one code.

    `means`, `why` and `mend` are whole sentences. `bad` gives the diagnostic and `good` does not;
    with `model` they are policies for the network in `examples/digits`. `executed` says that the
    examples are complete: a test takes them at their word.
    """

    code: str
    title: str
    means: str
    why: str
    mend: str
    form: Form
    bad: str
    good: str
    model: bool = False
    executed: bool = False


@cache
def all_codes() -> Mapping[str, Code]:
    """Every entry, by its code, in order."""
    found = [entry for file in files("amctc.codes").iterdir() if file.name.endswith(".toml") for entry in _read(file)]
    table = {entry.code: entry for entry in sorted(found, key=lambda entry: entry.code)}
    if len(table) != len(found):
        raise ValueError("two entries have one code")
    return table


def find_code(code: str) -> Code:
    """The entry of a code, written in capitals or not. Raises `DiagnosticError` AM811 for one that there is not."""
    known = all_codes()
    entry = known.get(code.strip().upper())
    if entry is None:
        help = did_you_mean(code.strip().upper(), known) or "a code is `AM` and three digits, as in `error[AM210]`"
        raise error("AM811", f"there is no diagnostic code `{code[:40]}`", help=help)
    return entry


def code_text(entry: Code) -> str:
    """An entry as text for a terminal."""
    lines = [f"{entry.code}: {entry.title}", "", entry.means, entry.why, "", entry.mend]
    for word, example in (("bad", entry.bad), ("good", entry.good)):
        lines += ["", f"{word}:", *(f"    {line}" for line in example.splitlines())]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def code_to_json(entry: Code) -> dict[str, object]:
    """An entry as plain data."""
    texts = ("code", "title", "means", "why", "mend", "form", "bad", "good")
    return {name: getattr(entry, name) for name in texts}


def _read(file: Traversable) -> Iterator[Code]:
    for code, fields in tomllib.loads(file.read_text(encoding="utf-8")).items():
        yield _entry(code, fields)


def _entry(code: str, fields: Mapping[str, Any]) -> Code:
    form: Form = fields["form"]
    if form not in get_args(Form):
        raise ValueError(f"{code}: there is no form {form!r}")
    executed: bool = fields.get("executed", form in _RUN)
    texts = {name: str(fields[name]).strip("\n") for name in ("title", "means", "why", "mend", "bad", "good")}
    return Code(code, **texts, form=form, model=fields.get("model", False), executed=executed)
