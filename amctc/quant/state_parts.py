"""What the state of an observer consists of, and the checks when one is taken from somewhere else.

A state is plain data: numbers, words, a table of settings and arrays. It says all that an observer has seen, the same
way however that came: equal data give equal states. Whoever reads one trusts nothing in it; what does not fit is a
`ValueError`, a `TypeError` or a `DiagnosticError`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

StateValue: TypeAlias = "int | float | str | dict[str, Any] | NDArray[Any]"
State: TypeAlias = dict[str, StateValue]

MOST_VALUES = 1 << 53
"""More than anybody can see, and few enough for float64 to count."""

S = TypeVar("S", bound="DataclassInstance")


def take_int(state: Mapping[str, object], key: str, least: int = 0, most: int = MOST_VALUES) -> int:
    """A whole number within limits."""
    found = state.get(key)
    if type(found) is not int or not least <= found <= most:
        raise ValueError(f"`{key}` is no whole number from {least} to {most}")
    return found


def take_array(state: Mapping[str, object], key: str, dtype: type[np.generic], ndim: int = 1) -> NDArray[Any]:
    """A copy of an array of this type and number of axes, without NaN and infinity, and without -0."""
    found = state.get(key)
    if not isinstance(found, np.ndarray) or found.dtype != dtype or found.ndim != ndim:
        raise ValueError(f"`{key}` is no array of {np.dtype(dtype)} with {ndim} axes")
    if not np.isfinite(found).all():
        raise ValueError(f"`{key}` holds NaN or Inf")
    return plus_zero(found)


def plus_zero(values: NDArray[Any]) -> NDArray[Any]:
    """A copy in C order in which every zero is +0, so that equal values have equal bytes."""
    return np.ascontiguousarray(values + values.dtype.type(0))


def settings_table(settings: DataclassInstance) -> dict[str, Any]:
    """Settings as a table of numbers and words; a pair is a list."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in _items(settings)}


def take_settings(state: Mapping[str, object], kind: type[S]) -> S:
    """The settings of a state. Those that are illegal are a `DiagnosticError` (AM407)."""
    table = state.get("settings")
    usual: dict[str, object] = dict(_items(kind()))
    if not isinstance(table, dict) or table.keys() != usual.keys():
        raise ValueError(f"`settings` is no table of {', '.join(usual)}")
    return kind(**{key: _like(value, table[key], key) for key, value in usual.items()})


def _items(settings: DataclassInstance) -> list[tuple[str, Any]]:
    return [(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)]


def _like(usual: object, found: object, key: str) -> object:
    """What was found, if it is of the type of what is usual."""
    if isinstance(usual, tuple) and isinstance(found, list) and len(found) == len(usual):
        return tuple(_like(one, other, key) for one, other in zip(usual, found, strict=True))
    if isinstance(usual, float) and type(found) in (int, float) and math.isfinite(found):  # type: ignore[arg-type]
        return float(found)  # type: ignore[arg-type]
    if type(found) is not type(usual):
        raise ValueError(f"the setting `{key}` is no {type(usual).__name__}")
    return found
