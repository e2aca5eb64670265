"""GE's text dumps, `ge_proto_00000000_name.txt`: a ModelDef in protobuf's text format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from amctc.air.files import MODEL
from amctc.air.schema import ModelDef, ge_schema
from amctc.air.text_scan import scan_text
from amctc.diagnostics import Collector, error
from amctc.text.checked import to_proto
from amctc.text.files import read_text
from amctc.text.literals import float32_text, quote
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

_Write: TypeAlias = Callable[[str], object]

_LONGEST_EXPLAINED = 400_000
"""Characters of a text in which every mistake is told: the tree that this takes is large, and seconds in the making."""

_CONSTANTS = frozenset({"Const", "Constant"})
_LEFT_OUT = frozenset({"node_def", "op_def", "func_def"})
"""Attributes of an op, besides the value of a constant, that a dump without weights leaves out."""


def dump_name(index: int, suffix: str) -> str:
    """The file name of a dump: `dump_name(3, "Build")` is `ge_proto_00000003_Build.txt`."""
    return f"ge_proto_{index:08d}_{suffix}.txt"


def is_text_dump(path: str | Path) -> bool:
    """Whether a file is taken for a text dump, which is so by the ending `.txt`."""
    return Path(path).suffix.lower() == ".txt"


def dump_text(model: ModelDef, level: Literal[1, 2] = 1) -> str:
    """The text of a model. Level 1 has all of it; level 2 has no values of constants.

    `read_text_dump` gives an equal message for the text of level 1.
    """
    lines: list[str] = []
    write_text(model, lines.append, level)
    return "".join(lines)


def write_text(model: ModelDef, write: _Write, level: Literal[1, 2] = 1) -> None:
    """Give the lines of `dump_text` to `write` one by one, for models that are large."""
    _write(model, "", level, write)


def read_text_dump(path: str | Path) -> ModelDef:
    """The ModelDef in a text dump.

    Raises `DiagnosticError`: AM100, AM102 and AM105 if the file cannot be read or is beyond 64 MiB, AM101, AM103 and
    AM104 for what is no text format or nests too deeply, AM110 to AM113 for what the schema does not have.
    """
    source = read_text(path)
    message = ge_schema().message(MODEL)()
    at = scan_text(source.text, message)
    if at is None:
        return message
    if len(source.text) > _LONGEST_EXPLAINED:
        help = f"of a text over {_LONGEST_EXPLAINED} characters no more can be told"
        raise error(
            "AM101",
            "from here on this is no text dump of a GE graph",
            source.span(at, min(at + 1, len(source.text))),
            help=help,
        )
    collector = Collector()
    descriptor = ge_schema().descriptor(MODEL)
    checked = check_message(parse_prototext(source), descriptor, collector, unknown_fields="error")
    collector.raise_errors()
    return to_proto(checked, type(message))


def _write(message: Any, pad: str, level: int, write: _Write) -> None:
    """The fields that are set, by their numbers, and maps by their keys: as protobuf itself prints them."""
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is None:
            for each in value if field.is_repeated else (value,):
                write(f"{pad}{field.name}: {_scalar(field, each)}\n")
        elif inner.GetOptions().map_entry:
            _write_map(message, field, pad, level, write)
        else:
            for each in value if field.is_repeated else (value,):
                write(f"{pad}{field.name} {{\n")
                _write(each, pad + "  ", level, write)
                write(f"{pad}}}\n")


def _write_map(message: Any, field: FieldDescriptor, pad: str, level: int, write: _Write) -> None:
    assert field.message_type is not None
    key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    entries = getattr(message, field.name)
    for key in sorted(entries):
        if level > 1 and _is_left_out(message, key):
            continue
        write(f"{pad}{field.name} {{\n{pad}  key: {_scalar(key_field, key)}\n")
        if value_field.message_type is None:
            write(f"{pad}  value: {_scalar(value_field, entries[key])}\n")
        else:
            write(f"{pad}  value {{\n")
            _write(entries[key], pad + "    ", level, write)
            write(f"{pad}  }}\n")
        write(f"{pad}}}\n")


def _is_left_out(holder: Any, name: object) -> bool:
    if holder.DESCRIPTOR.name != "OpDef":
        return False
    return name in _LEFT_OUT or (name == "value" and holder.type in _CONSTANTS)


def _scalar(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return str(value) if known is None else known.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = float32_text(value)
        return "-0.0" if text == "-0" else text  # a whole number has no sign at zero
    return quote(value.encode() if isinstance(value, str) else value) if isinstance(value, str | bytes) else str(value)
