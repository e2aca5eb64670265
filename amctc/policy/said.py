"""A value that a policy file says, with the place where it says so."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import field
from decimal import Decimal
from typing import Generic, TypeAlias, TypeVar

from amctc.diagnostics import did_you_mean
from amctc.source import Span
from amctc.text.bulk import value_type

T = TypeVar("T")

_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?")
_LONGEST_NAME = 120
_MOST_NAMES = 20_000


@value_type
class Said(Generic[T]):
    """One value as written; `span` is None where a caller, not a file, says it. Equality is that of values."""

    value: T
    span: Span | None = field(default=None, compare=False, repr=False)


Number: TypeAlias = tuple[float, str | None]
"""A value and its text, which is None for a whole number and where no file says it.

Without its place, so that what is found out of it may be remembered: a policy has few different
numbers, each many times.
"""


def number_of(said: Said[int] | Said[float]) -> Number:
    value, span = said.value, said.span
    return value, (None if span is None or isinstance(value, int) else span.text)


def as_used(number: Number) -> Decimal:
    """The decimal of the value that calculations take; NaN where it is not finite."""
    value = number[0]
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else Decimal("NaN")
    return Decimal(value)


def as_written(number: Number) -> Decimal:
    """The decimal exactly as it stands in the file, where it is one; else the value that is used.

    Only for a value that is finite and not 0: that bounds the exponent that may be written.
    """
    text = number[1]
    written = _decimal_in(text) if text is not None else None
    return written if written is not None else as_used(number)


def _decimal_in(text: str) -> Decimal | None:
    """The decimal that a text is; None where it is none, or may be octal for it has no point and no exponent."""
    if _DECIMAL.fullmatch(text) and any(char in text for char in ".eE"):
        return Decimal(text.rstrip("fF"))
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """`did_you_mean`, or None where names are so long or so many that the search would take long."""
    names = list(known)
    if len(name) > _LONGEST_NAME or len(names) > _MOST_NAMES:
        return None
    return did_you_mean(name, [other for other in names if len(other) <= _LONGEST_NAME])
