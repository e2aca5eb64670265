"""The recorded GE files, what they state in JSON, and how GE's loaders took the damaged ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.shared_files import GOLDEN

FOLDER = GOLDEN / "ge"
GENERATIONS = ("metadef2021", "ge2026")
WHOLE = sorted(FOLDER.glob("*.air"))
DAMAGED = sorted((FOLDER / "damaged").glob("*.air"))


@dataclass(frozen=True)
class Verdict:
    """What one loader did with one file: whether it refused it, or saved something else than it had loaded."""

    refused: bool
    changed: bool


def verdicts() -> Mapping[str, Sequence[Verdict]]:
    """What each of the two loaders did, by the name of the case; a loader that was not measured is left out."""
    head, *rows = ((FOLDER / "loader_behaviour.tsv").read_text(encoding="utf-8")).splitlines()
    names = head.split("\t")
    found: dict[str, list[Verdict]] = {}
    for row in rows:
        cells = dict(zip(names, row.split("\t"), strict=False))
        found[cells["case"]] = [
            Verdict(cells[f"{loader}_result"] == "refused", "resave_diff" in cells[f"{loader}_after_load"])
            for loader in GENERATIONS
            if cells[f"{loader}_result"] in ("refused", "accepted")
        ]
    return found


def case_of(path: Path) -> tuple[str, str]:
    """The generation and the case of a damaged file."""
    generation, _, case = path.stem.partition("_")
    return generation, case


def as_json(message: Any) -> Any:
    """A message as the recorded JSON has it: names of the schema, enums by name, tensor data with its bytes in hex."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = {key: as_json(value[key]) for key in value}
        elif message.DESCRIPTOR.name == "TensorDef" and field.name == "data":
            desc = as_json(message.desc)
            shape = desc["shape"].get("dim", [])
            found["data"] = {"shape": shape, "dtype": desc["dtype"], "nbytes": len(value), "hex": value.hex()}
        else:
            each = [_plain(field, item) for item in (value if field.is_repeated else [value])]
            found[field.name] = each if field.is_repeated else each[0]
    return found


def _plain(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return as_json(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value.decode() if isinstance(value, bytes) else value


def messages(message: Any) -> Iterator[Any]:
    """A message and all those in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            found = [value[key] for key in value]
        else:
            found = list(value) if field.is_repeated else [value]
        for each in found:
            if hasattr(each, "ListFields"):
                yield from messages(each)
