"""GE nodes in ONNX's words: which operand of the ONNX op each of their slots is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from amctc.dialects.ge.filled import constant
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.ge.slots import operands, slot_names
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.onnx.operands import ABSENT, role_at
from amctc.dialects.op import OpDef, Quantizable
from amctc.ir import Node, Value
from amctc.ir.node import Array
from amctc.text.plain import Plain

Given: TypeAlias = "int | Array | None"
"""What fills a slot: the input of that number, a constant, or nothing."""


def given(node: Node) -> tuple[Given, ...]:
    """What fills each slot of a node, in their order."""
    found: list[Given] = []
    count = 0
    for operand in operands(node):
        if isinstance(operand, Value):
            found.append(count)
            count += 1
        else:
            found.append(None if operand is None else node.weights[operand])
    return tuple(found)


def given_at(node: Node, slot: str) -> Given:
    """What fills the slot of a name."""
    names, found = slot_names(node), given(node)
    index = names.index(slot) if slot in names else len(found)
    return found[index] if index < len(found) else None


def constant_ints(node: Node, slot: str) -> tuple[int, ...]:
    """The whole numbers of the constant in a slot. Raises `NoKin`."""
    found = constant(node, slot)
    if found.dtype.kind not in "iu":
        raise NoKin(f"cannot be run: its `{slot}` holds no whole numbers")
    return tuple(int(number) for number in found.reshape(-1))


def longs(numbers: Sequence[int]) -> Array:
    """Whole numbers as ONNX takes them: int64 [n]."""
    return np.array(numbers, np.int64)


def as_long(found: Given) -> Given:
    """A constant of whole numbers as int64 of one axis; data stay as they are."""
    return found.astype(np.int64).reshape(-1) if isinstance(found, np.ndarray) else found


def numbers_at(node: Node, slot: str) -> Given:
    """What fills a slot of whole numbers, for an operand of ONNX that is int64."""
    found = as_long(given_at(node, slot))
    if isinstance(found, int) and node.inputs[found].dtype != "int64":
        raise NoKin(f"cannot be run: its `{slot}` is neither constant nor int64")
    return found


def onnx_kin(
    type: str,
    operands: Sequence[Given],
    attrs: Mapping[str, Plain] | None = None,
    *,
    outputs: tuple[int, ...] = (0,),
    moved: bool = False,
    dtypes: Mapping[int, str] = MappingProxyType({}),
) -> Kin:
    """An ONNX op with these operands, in its own order; else as in `Kin`."""
    last = max((index for index, each in enumerate(operands) if each is not None), default=-1)
    absent = tuple(index for index, each in enumerate(operands[:last]) if each is None)
    own: dict[str, Plain] = {**(attrs or {}), **({ABSENT: absent} if absent else {})}
    weights = {role_at(type, index): each for index, each in enumerate(operands) if isinstance(each, np.ndarray)}
    inputs = tuple(each for each in operands if isinstance(each, int))
    return Kin(f"{ONNX}.{type}", own, weights, inputs, outputs, moved, dtypes=dtypes)


def same_operands(type: str) -> Callable[[Node], Kin]:
    """An ONNX op that takes what the GE op takes, in the same order, and has no attributes."""

    def translate(node: Node) -> Kin:
        return onnx_kin(type, given(node))

    return translate


def onnx_row(
    type: str,
    like: str,
    translate: Callable[[Node], Kin] | None = None,
    *,
    quantizable: Quantizable | None = None,
    notes: str = "",
) -> OpDef:
    """The row of an op that is like the ONNX op `like`; without `translate` its operands are those of that op."""
    return kin_row(type, translate or same_operands(like), f"{ONNX}.{like}", quantizable=quantizable, notes=notes)


def moving(row: OpDef, count: int | None = 1) -> OpDef:
    """A row of an op that moves all elements of its `count` values (None: of all) where nothing constant is among them.

    Other nodes of that type do not count as moving.
    """
    plain = replace(row, moves_data=False, reshaping=None, permuting=None)

    def fits(node: Node) -> bool:
        if count is None:
            return not any(name.startswith("x") for name in node.weights)
        return len(node.inputs) == count and isinstance(given_at(node, "x"), int)

    return replace(row, moves_data=True, variant=lambda node: None if fits(node) else plain)
