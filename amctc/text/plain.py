"""Plain values: what a checked message becomes when positions no longer matter, and its text again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.text.literals import float32_text, float_text, quote


class Symbol(str):
    """A bare identifier, such as the name of an enum value; a `str` everywhere else."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Symbol({str(self)!r})"


Plain: TypeAlias = "bool | int | float | str | Symbol | bytes | tuple[Plain, ...] | dict[str, Plain]"


def plain_to_text(plain: Mapping[str, Plain], descriptor: Descriptor | None, indent: int = 0) -> str:
    """Prototext of a nested dict, two spaces a level, in the dict's own order.

    A tuple is a repeated field. With a descriptor, a `float` field is printed as the shortest text
    of its float32 and an enum without quotes; keys the descriptor does not know are printed by the
    Python type of their value.
    """
    return "".join(f"{line}\n" for line in _lines(plain, descriptor, "  " * indent))


def _lines(plain: Mapping[str, Plain], descriptor: Descriptor | None, pad: str) -> Iterator[str]:
    for name, value in plain.items():
        field = descriptor.fields_by_name.get(name) if descriptor is not None else None
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, dict):
                yield f"{pad}{name} {{"
                yield from _lines(item, field.message_type if field is not None else None, pad + "  ")
                yield f"{pad}}}"
            else:
                yield f"{pad}{name}: {_scalar(item, field)}"


def _scalar(value: Plain, field: FieldDescriptor | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return quote(value)
    if isinstance(value, str):
        bare = isinstance(value, Symbol) or (field is not None and field.type == FieldDescriptor.TYPE_ENUM)
        return str(value) if bare else quote(value.encode())
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        single = field is not None and field.type == FieldDescriptor.TYPE_FLOAT
        return float32_text(value) if single else float_text(value)
    raise TypeError(f"a {type(value).__name__} cannot stand for one value of a field")
