"""A value that a policy file says, with the place where it says so."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Generic, TypeVar

from amctc.diagnostics import did_you_mean
from amctc.source import Span

T = TypeVar("T")

_DECIMAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?")
_LONGEST_NAME = 120
_MOST_NAMES = 20_000


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """One value as written; `span` is None where a caller, not a file, says it. Equality is that of values."""

    value: T
    span: Span | None = field(default=None, compare=False, repr=False)


def as_used(said: Said[int] | Said[float]) -> Decimal:
    """The decimal of the value that calculations take; NaN where it is not finite."""
    return _decimal_of(said.value)


def as_written(said: Said[int] | Said[float]) -> Decimal:
    """The decimal exactly as it stands in the file, where it is one; else the value that is used.

    Only for a value that is finite and not 0: that bounds the exponent that may be written.
    """
    if said.span is None or isinstance(said.value, int):
        return as_used(said)
    written = _decimal_in(said.span.text)
    return written if written is not None else as_used(said)


# A policy has few different numbers, each many times.
@lru_cache(maxsize=1024, typed=True)
def _decimal_of(value: float) -> Decimal:
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else Decimal("NaN")
    return Decimal(value)


@lru_cache(maxsize=1024)
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
