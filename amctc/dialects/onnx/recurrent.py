"""LSTM, GRU and RNN with constant weights: what runs over time and is quantized inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.attribute_proto import node_attribute
from amctc.dialects.onnx.generic import ONNX, generic_row
from amctc.dialects.onnx.inference import infer_node
from amctc.dialects.onnx.operands import operands
from amctc.dialects.onnx.recurrent_quant import is_quantized, quantize_inside, read_grids
from amctc.dialects.op import Arity, InnerProduct, OpDef, Quantizable, Recurrent, UnknownShape
from amctc.dialects.recurrent_grids import RecurrentGrids
from amctc.ir import Node, Value
from amctc.ir.node import Shape

WEIGHT, RECURRENCE, BIAS = "W", "R", "B"
LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLE = range(4, 8)
"""The positions of the operands behind the bias."""

_FLOAT = "float32"
_AS_FLOATS: Mapping[str, str] = MappingProxyType(dict.fromkeys((WEIGHT, RECURRENCE, BIAS), _FLOAT))


@dataclass(frozen=True)
class RecurrentKind:
    """`gates` rows of W and R for each unit; how many states a step hands on (h, perhaps c); the usual activations."""

    gates: int
    states: int
    activations: tuple[str, ...]


KINDS: Mapping[str, RecurrentKind] = MappingProxyType(
    {
        "LSTM": RecurrentKind(4, 2, ("Sigmoid", "Tanh", "Tanh")),
        "GRU": RecurrentKind(3, 1, ("Sigmoid", "Tanh")),
        "RNN": RecurrentKind(1, 1, ("Tanh",)),
    }
)
"""Gates are in ONNX's order: i, o, f, c of an LSTM, z, r, h of a GRU."""


def hidden_size(node: Node) -> int:
    """H, the number of units."""
    return int(node.weights[RECURRENCE].shape[2])


def inner_products_of(node: Node) -> tuple[InnerProduct, InnerProduct]:
    """W with the data, R with the hidden state; each has a half of B."""
    rows = int(node.weights[WEIGHT].shape[1])
    bias = BIAS if BIAS in node.weights else None
    parts = ((0, rows), (rows, 2 * rows)) if bias is not None else (None, None)
    return (
        InnerProduct(WEIGHT, bias, 0, parts[0]),
        InnerProduct(RECURRENCE, bias, len(node.inputs), parts[1]),
    )


def _fits(node: Node) -> bool:
    """Whether the layer is one that AMCT quantizes: forward in time, with constant weights, nothing out of the way."""
    kind = KINDS[node.type]
    if not _has_usual_attributes(node, kind) or not _has_constant_weights(node, kind):
        return False
    found = operands(node)
    state = INITIAL_H + kind.states
    return isinstance(found[0], Value) and all(operand is None for operand in found[state:])


def _has_usual_attributes(node: Node, kind: RecurrentKind) -> bool:
    activations = node_attribute(node, "activations", kind.activations)
    usual = (
        node_attribute(node, "direction", "forward") == "forward",
        tuple(activations if isinstance(activations, tuple) else (activations,)) == kind.activations,
        not any(name in node.attrs for name in ("clip", "activation_alpha", "activation_beta")),
        node_attribute(node, "layout", 0) == 0,
        node_attribute(node, "input_forget", 0) == 0,
        node.type != "GRU" or node_attribute(node, "linear_before_reset", 0) == 1,
    )
    return all(usual)


def _has_constant_weights(node: Node, kind: RecurrentKind) -> bool:
    if not node.inputs or node.inputs[0].dtype != _FLOAT or not {WEIGHT, RECURRENCE} <= node.weights.keys():
        return False
    w, r, b = node.weights[WEIGHT], node.weights[RECURRENCE], node.weights.get(BIAS)
    if any(array.ndim != 3 or array.dtype.name not in (_FLOAT, "int8") for array in (w, r)):
        return False
    rows, hidden = r.shape[1:]
    if w.shape[:2] != (1, rows) or r.shape[0] != 1 or rows != kind.gates * hidden or not r.size or not w.size:
        return False
    if node_attribute(node, "hidden_size", hidden) != hidden:
        return False
    if b is None:
        return not any(position == 3 and operand is not None for position, operand in enumerate(operands(node)))
    return b.shape == (1, 2 * rows) and b.dtype.name in (_FLOAT, "int32")


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if is_quantized(node):
        _grids(node)
    # Where the weights are integers already, the outputs have the shapes that they have for floats.
    found = infer_node(node, shapes, tuple(value.dtype for value in node.inputs), _AS_FLOATS)
    known = tuple(each.shape for each in found if each.shape is not None)
    if len(known) < len(found):
        raise UnknownShape
    return known


def _quantize(node: Node) -> None:
    quantize_inside(node, inner_products_of(node))


def _grids(node: Node) -> RecurrentGrids:
    return read_grids(node, inner_products_of(node))


def _initial(node: Node) -> Value | NDArray[np.float32] | None:
    found = operands(node)
    operand = found[INITIAL_H] if len(found) > INITIAL_H else None
    if not isinstance(operand, str):
        return operand
    state = node.weights[operand].astype(np.float32, copy=False)
    return state if bool(state.any()) else None


def _rows(weight: NDArray[np.generic]) -> NDArray[np.generic]:
    return weight.reshape(weight.shape[1:])


def _from_rows(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    return rows[np.newaxis]


_RECURRENT = Recurrent(
    products=inner_products_of,
    hidden_range=(-1.0, 1.0),
    hidden_output=0,
    quantize=_quantize,
    is_quantized=is_quantized,
    grids=_grids,
    rows=_rows,
    from_rows=_from_rows,
    initial=_initial,
)


def _row(type: str, summary: str, notes: str) -> OpDef:
    kind, otherwise = KINDS[type], generic_row(f"{ONNX}.{type}")
    return OpDef(
        name=f"{ONNX}.{type}",
        summary=summary,
        inputs=Arity(1, 2 + kind.states),
        outputs=Arity(1, 1 + kind.states),
        infer=_infer,
        quantizable=Quantizable(on_by_default=True, weights=True, channel_wise=True, data_inputs=lambda node: (0,)),
        recurrent=_RECURRENT,
        variant=lambda node: None if _fits(node) else otherwise,
        notes=f"{notes}; passes through in float unless it runs forward, with constant weights, the usual activations, "
        "layout 0 and no clip",
    )


RECURRENT_OPS: tuple[OpDef, ...] = (
    _row(
        "LSTM",
        "long short-term memory over the first axis",
        "W [1, 4H, I], R [1, 4H, H] and B [1, 8H], gates i, o, f, c; quantized without peepholes and `input_forget`",
    ),
    _row(
        "GRU",
        "gated recurrent units over the first axis",
        "W [1, 3H, I], R [1, 3H, H] and B [1, 6H], gates z, r, h; quantized with `linear_before_reset` 1",
    ),
    _row(
        "RNN",
        "a recurrent layer with tanh over the first axis",
        "W [1, H, I], R [1, H, H] and B [1, 2H]; its deploy form computes in float on the grids",
    ),
)
