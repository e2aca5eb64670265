"""Messages as protobuf's text format, with its very bytes: its own writer takes long over thousands of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import text_encoding
from google.protobuf.descriptor import FieldDescriptor

_BARE = (FieldDescriptor.CPPTYPE_MESSAGE, FieldDescriptor.CPPTYPE_STRING)
"""What is never written as a list in brackets."""


def message_text(message: Any, *, brackets: bool = False) -> str:
    """What `text_format.MessageToString` with `as_utf8` gives; with `brackets`, repeated numbers stand in one list.

    Groups, extensions and maps have other rules, and are not for this function.
    """
    lines: list[str] = []
    _write(message, "", brackets, lines)
    return "\n".join([*lines, ""])


def _write(message: Any, pad: str, brackets: bool, lines: list[str]) -> None:
    for field, value in message.ListFields():
        values: Sequence[Any] = value if field.is_repeated else (value,)
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for inner in values:
                lines.append(f"{pad}{field.name} {{")
                _write(inner, pad + "  ", brackets, lines)
                lines.append(f"{pad}}}")
            continue
        texts = _texts(field, values)
        if brackets and field.is_repeated and field.cpp_type not in _BARE:
            lines.append(f"{pad}{field.name}: [{', '.join(texts)}]")
        else:
            begin = f"{pad}{field.name}: "
            lines += [begin + text for text in texts]


def _texts(field: FieldDescriptor, values: Sequence[Any]) -> list[str]:
    """The values of a field that is no message, as they are written."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return float32_texts(values)
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        utf8 = field.type == FieldDescriptor.TYPE_STRING
        return [f'"{text_encoding.CEscape(value.encode() if utf8 else value, utf8)}"' for value in values]
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        return [names[value].name if value in names else str(value) for value in values]
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return ["true" if value else "false" for value in values]
    return list(map(str, values))


def float32_texts(values: Sequence[float]) -> list[str]:
    """The text of each float32 as Python writes the shortest double that is rounded to it: `0.1`, `65536.0`, `1e-05`.

    Six to nine significant digits are tried, as few as do.
    """
    wanted = np.asarray(values, np.float32)
    found = np.zeros(len(wanted))
    left = np.arange(len(wanted))
    for digits in (6, 7, 8, 9):
        tried = np.array([float(f"{value:.{digits}g}") for value in wanted[left].tolist()])
        with np.errstate(over="ignore"):
            same = (tried.astype(np.float32) == wanted[left]) | np.isnan(tried)
        found[left] = tried
        left = left[~same]
        if not len(left):
            break
    return list(map(str, found.tolist()))
