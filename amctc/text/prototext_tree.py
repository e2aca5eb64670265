"""The tree of a protobuf text: scalars, fields and messages with their positions. It knows no schema."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from amctc.source import Span
from amctc.text.bulk import value_type

ScalarKind = Literal["int", "float", "string", "identifier"]


@value_type
class TextScalar:
    """A number, a string (as bytes) or a bare word. `inf` and `nan` are floats."""

    kind: ScalarKind
    value: int | float | bytes | str
    span: Span = field(compare=False, repr=False)


@value_type
class TextField:
    """One `name: value` or `name { }`; a list value is as many fields of the same name.

    `name` of an extension or of an `Any` keeps its brackets: `[a.b.c]`. `span` runs from the name
    to the end of the value.
    """

    name: str
    name_span: Span = field(compare=False, repr=False)
    value: TextScalar | TextMessage
    span: Span = field(compare=False, repr=False)


@value_type
class TextMessage:
    """Fields in the order written; the span includes the brackets, and is all of the text for a file."""

    fields: tuple[TextField, ...]
    span: Span = field(compare=False, repr=False)
