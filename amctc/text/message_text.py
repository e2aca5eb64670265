"""Messages as protobuf's text format, with its very bytes: its own writer takes long over thousands of numbers."""

from __future__ import annotations

import math
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

    The shortest of at least six significant digits, the nearest of as many.
    """
    wanted = np.asarray(values, np.float32)
    found = np.array(wanted.astype(np.str_), np.float64)
    # numpy takes any that is rounded to the number, however short: not always the nearest at a power of two, and fewer
    # than six digits where the number has as little precision.
    mantissas, magnitudes = wanted.view(np.uint32) << 9, np.abs(wanted)
    other = (mantissas == 0) | ~(magnitudes >= np.finfo(np.float32).tiny)
    found[other] = [_shortest(value) for value in wanted[other].tolist()]
    return list(map(str, found.tolist()))


def _shortest(value: float) -> float:
    if not math.isfinite(value):
        return value
    tried = (float(f"{value:.{digits}g}") for digits in (6, 7, 8))
    with np.errstate(over="ignore"):
        return next((number for number in tried if np.float32(number) == np.float32(value)), float(f"{value:.9g}"))
