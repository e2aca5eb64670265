"""A resolved policy as plain data and back: what passes need of it, without the policy's file or the first graph."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from amctc.policy import Resolved, ResolvedPolicy, Rule

_LEFT_OUT = frozenset({"gave_way", "lost", "passes", "policy", "warnings"})
"""Fields that only messages and the choice of the passes need."""


def policy_to_plain(policy: ResolvedPolicy) -> dict[str, Any]:
    """The policy as dicts, lists, strings, numbers and booleans."""
    plain: dict[str, Any] = _to_plain(policy)
    return plain


def policy_from_plain(plain: object) -> ResolvedPolicy:
    """The policy again; its rules have no places but in words. Raises `ValueError` for data of another form."""
    policy: ResolvedPolicy = _from_plain(ResolvedPolicy, plain)
    return policy


def _to_plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return str(value)
    if dataclasses.is_dataclass(value):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _to_plain(item) for name, item in fields if name not in _LEFT_OUT and item is not None}
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    return value


def _from_plain(wanted: Any, plain: object) -> Any:
    """A value of the wanted type: a dataclass, Resolved[…], tuple[X, ...], Mapping[str, X], X | None or a scalar."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Rule and isinstance(plain, str):
        return Rule(plain)
    if origin in (Union, types.UnionType):
        return _from_plain(next(kind for kind in arguments if kind is not type(None)), plain)
    if origin is Resolved and isinstance(plain, dict) and plain.keys() == {"value", "rule"}:
        return Resolved(_from_plain(arguments[0], plain["value"]), _from_plain(Rule, plain["rule"]))
    if origin is tuple and isinstance(plain, list):
        return tuple(_from_plain(arguments[0], item) for item in plain)
    if isinstance(plain, dict) and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _from_plain(arguments[1], item) for key, item in plain.items()}
    if isinstance(plain, dict) and origin is None and dataclasses.is_dataclass(wanted):
        return _instance(wanted, plain)
    if wanted is float and type(plain) is int:
        return float(plain)
    if wanted in (bool, int, float, str) and type(plain) is wanted:
        return plain
    raise ValueError("a value of another form than a policy's")


def _instance(kind: Any, plain: Mapping[str, object]) -> Any:
    hints = _hints(kind)
    wanted = [field.name for field in dataclasses.fields(kind) if field.name not in _LEFT_OUT]
    if not plain.keys() <= set(wanted):
        raise ValueError("a policy has no such field")
    values: dict[str, Any] = {name: None for name in wanted if type(None) in get_args(hints[name])}
    try:
        return kind(**values | {name: _from_plain(hints[name], item) for name, item in plain.items()})
    except TypeError:  # a field is missing
        raise ValueError("a field of the policy is missing") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
