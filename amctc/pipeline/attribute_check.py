"""Comparisons that a pattern can never mean, found when it is read."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import FieldDescriptor

from amctc.diagnostics import did_you_mean
from amctc.dialects.attributes import PROPERTIES
from amctc.dialects.caffe.fields import own_fields
from amctc.dialects.table import ops_of
from amctc.pipeline.conditions import AnyOf, Compares, Condition, OfType
from amctc.text.plain import Symbol


def comparison_mistake(condition: Condition, compares: Compares) -> str | None:
    """Why this comparison can hold for no layer that the condition accepts, as a sentence; None where it may hold.

    Only of Caffe's layer types can it be told which attributes they have. A path such as
    `power_param.power` is not checked, so that a pass can ask for what another Caffe has.
    """
    number = isinstance(compares.literal, int | float) and not isinstance(compares.literal, bool)
    if compares.relation not in ("=", "!=") and not number:
        return f"`{compares.relation}` compares numbers only"
    if compares.name in PROPERTIES:
        return None if number else f"`{compares.name}` is a number"
    types = _types(condition)
    rows = [row for row in ops_of(("caffe",)).values() if row.name in types or row.type in types]
    known = {name for row in rows for name in (row.type, row.name)}
    if not types or not known.issuperset(types) or "." in compares.name:
        return None
    fields = [own_fields(row) for row in rows]
    found = [own[compares.name] for own in fields if compares.name in own]
    if not found:
        names = sorted({name for own in fields for name in own} | set(PROPERTIES))
        help = did_you_mean(compares.name, names) or f"there are {', '.join(names)}"
        has = "has" if len(types) == 1 else "have"
        return f"{' and '.join(f'`{name}`' for name in types)} {has} no attribute `{compares.name}`; {help}"
    reasons = [_kind_mistake(field, compares) for field in found]
    return None if None in reasons else reasons[0]


def _types(condition: Condition) -> Sequence[str]:
    """The layer types that are all that the condition accepts; none where it accepts others, too."""
    if isinstance(condition, OfType):
        return (condition.name,)
    if not isinstance(condition, AnyOf) or not all(isinstance(part, OfType) for part in condition.parts):
        return ()
    return tuple(part.name for part in condition.parts if isinstance(part, OfType))


def _kind_mistake(field: FieldDescriptor, compares: Compares) -> str | None:
    literal = compares.literal
    name = f"`{compares.name}`"
    if field.message_type is not None:
        return f"{name} is a message, which compares with nothing"
    if field.enum_type is not None:
        words = [value.name for value in field.enum_type.values]
        if isinstance(literal, Symbol) and literal in words:
            return None
        help = did_you_mean(str(literal), words) or f"there are {', '.join(words)}"
        return f"{name} is a word, and not `{literal}`; {help}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return None if isinstance(literal, bool) else f"{name} is true or false"
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None if isinstance(literal, str) else f"{name} is a text"
    if isinstance(literal, bool | str):
        return f"{name} is a number"
    return None
