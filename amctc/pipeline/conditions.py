"""What a step of a pattern asks of one node."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from amctc.dialects.attributes import PROPERTIES, attribute
from amctc.dialects.op import OpDef
from amctc.dialects.table import op_def, op_table
from amctc.ir import Node
from amctc.text.plain import Plain, Symbol

TRAITS: Mapping[str, Callable[[OpDef], bool]] = MappingProxyType(
    {
        "linear": lambda row: row.linear is not None,
        "affine": lambda row: row.affine is not None,
        "activation": lambda row: row.activation,
        "identity": lambda row: row.identity,
        "homogeneous": lambda row: row.homogeneous is not None,
        "bounded": lambda row: row.bounded is not None,
        "movement": lambda row: row.moves_data,
        "reshaping": lambda row: row.reshaping is not None,
        "permuting": lambda row: row.permuting is not None,
        "recurrent": lambda row: row.recurrent is not None,
        "quantizable": lambda row: row.quantizable is not None,
        "source": lambda row: row.source,
        "custom": lambda row: row.dialect == "caffe" and row.name not in op_table(),
    }
)
"""Traits a pattern may name, in lower case so that they differ from layer types."""

RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "=": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)

Literal: TypeAlias = bool | int | float | str
"""What an attribute is compared with; a `Symbol` for a bare word."""


class Condition(ABC):
    """Something that holds for a node or does not."""

    @abstractmethod
    def accepts(self, node: Node) -> bool: ...


@dataclass(frozen=True)
class Anything(Condition):
    def accepts(self, node: Node) -> bool:
        return True


@dataclass(frozen=True)
class OfType(Condition):
    """A layer type: `Convolution` of any dialect, or `caffe.Convolution`."""

    name: str

    def accepts(self, node: Node) -> bool:
        return self.name in (node.op, node.type)


@dataclass(frozen=True)
class HasTrait(Condition):
    """A trait of the op table, which no op outside it has."""

    name: str

    def accepts(self, node: Node) -> bool:
        if node.op not in op_table() and node.dialect != "caffe":
            return False
        return TRAITS[self.name](op_def(node))


@dataclass(frozen=True)
class Not(Condition):
    inner: Condition

    def accepts(self, node: Node) -> bool:
        return not self.inner.accepts(node)


@dataclass(frozen=True)
class AllOf(Condition):
    parts: tuple[Condition, ...]

    def accepts(self, node: Node) -> bool:
        return all(part.accepts(node) for part in self.parts)


@dataclass(frozen=True)
class AnyOf(Condition):
    parts: tuple[Condition, ...]

    def accepts(self, node: Node) -> bool:
        return any(part.accepts(node) for part in self.parts)


@dataclass(frozen=True)
class Compares(Condition):
    """An attribute or a property compared with a literal: `power=1`, `rank>=3`.

    An attribute that the node has not, or that is of another kind, compares with nothing: not even `!=` holds. Of a
    field given several times every value must hold. A float attribute is compared in float32, as Caffe has it.
    """

    name: str
    relation: str
    literal: Literal

    def accepts(self, node: Node) -> bool:
        own = PROPERTIES.get(self.name)
        value = own(node) if own is not None else attribute(node, self.name)
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        return bool(values) and all(self._holds(each) for each in values)

    def _holds(self, value: Plain) -> bool:
        if not _comparable(value, self.literal):
            return False
        literal = _rounded(self.literal) if isinstance(value, float) and _rounded(value) == value else self.literal
        return RELATIONS[self.relation](value, literal)


def _comparable(value: Plain, literal: Literal) -> bool:
    if isinstance(value, bool) or isinstance(literal, bool):
        return isinstance(value, bool) and isinstance(literal, bool)
    if isinstance(literal, str):
        return isinstance(value, str)
    return isinstance(value, int | float)


def _rounded(number: Any) -> float:
    """The nearest float32."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def word(text: str) -> Literal:
    """What a bare word in a predicate stands for."""
    return {"true": True, "false": False}.get(text, Symbol(text))
