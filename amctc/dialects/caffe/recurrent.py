"""Recurrent layers: LSTM, RNN, GRU, and LSTMUnit, one step of the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from amctc.dialects.caffe.blobs import describe, need_own_top, need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.recurrent_quant import is_quantized, recurrent_grids, write_grids
from amctc.dialects.op import Arity, InnerProduct, OpDef, OpError, Quantizable, Recurrent
from amctc.dialects.recurrent_grids import RecurrentGrids
from amctc.ir import Node
from amctc.ir.node import Shape

PARAMETER = "recurrent_param"


@dataclass(frozen=True)
class _Kind:
    """`gates` rows of W_x and W_h for each unit; how many states a step hands on (h, perhaps c); W_o or not."""

    gates: int
    states: int
    has_output_product: bool = False


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {"LSTM": _Kind(4, 2), "RNN": _Kind(1, 1, has_output_product=True), "GRU": _Kind(3, 1)}
)


def hidden_size(node: Node) -> int:
    """H, the number of units."""
    return int(params(node, PARAMETER).num_output)


def state_count(node: Node) -> int:
    """How many states go from one time step to the next: h and, in an LSTM, c."""
    return _KINDS[node.type].states


def initial_inputs(node: Node) -> tuple[int, ...]:
    """The inputs that give the initial states, with `expose_hidden` only: the last ones."""
    count, states = len(node.inputs), _KINDS[node.type].states
    return tuple(range(count - states, count)) if params(node, PARAMETER).expose_hidden else ()


def static_input(node: Node) -> int | None:
    """The input that holds for all time steps, if there is one."""
    return 2 if len(node.inputs) > 2 + len(initial_inputs(node)) else None


def inner_products_of(node: Node) -> tuple[InnerProduct, ...]:
    """The products of a layer in the order of its blobs."""
    static, hidden = static_input(node), len(node.inputs)
    products = [InnerProduct("x_weight", "x_bias", 0)]
    if static is not None:
        products.append(InnerProduct("static_weight", None, static))
    products.append(InnerProduct("h_weight", None, hidden))
    if _KINDS[node.type].has_output_product:
        products.append(InnerProduct("o_weight", "o_bias", hidden))
    return tuple(products)


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    exposed, hidden = bool(params(node, PARAMETER).expose_hidden), hidden_size(node)
    states = _KINDS[node.type].states
    _check_counts(node, states if exposed else 0)
    if hidden < 1:
        raise OpError("`num_output` must be given and positive")
    need_own_top(node)
    x, cont = shapes[:2]
    if len(x) < 3:
        raise OpError(f"takes x with at least 3 axes (time, streams, data), this one is {describe(x)}")
    if cont != x[:2]:
        raise OpError(f"x is {describe(x)}, so cont must be {describe(x[:2])} (time, streams), not {describe(cont)}")
    state = (1, x[1], hidden)
    static = static_input(node)
    if static is not None and (len(shapes[static]) < 2 or shapes[static][0] != x[1]):
        found = describe(shapes[static])
        raise OpError(f"the static input must have at least 2 axes, the first for the {x[1]} streams; it is {found}")
    for index in initial_inputs(node):
        if shapes[index] != state:
            raise OpError(f"an initial state must be {describe(state)}; input {index} is {describe(shapes[index])}")
    if is_quantized(node):
        recurrent_grids(node, inner_products_of(node))
    return ((*x[:2], hidden), *((state,) * states if exposed else ()))


def _check_counts(node: Node, exposed: int) -> None:
    least, found = 2 + exposed, len(node.inputs)
    why = f" with `expose_hidden: {'true' if exposed else 'false'}`"
    if found not in (least, least + 1):
        raise OpError(f"takes {least} inputs, or {least + 1} with a static one,{why}; this layer has {found}")
    if len(node.outputs) != 1 + exposed:
        raise OpError(f"has {1 + exposed} output{'s' if exposed else ''}{why}; this layer has {len(node.outputs)}")


def _weight_shapes(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    hidden, static, kind = hidden_size(node), static_input(node), _KINDS[node.type]
    rows = kind.gates * hidden
    found: dict[str, Shape] = {"x_weight": (rows, math.prod(shapes[0][2:])), "x_bias": (rows,)}
    if static is not None:
        found["static_weight"] = (rows, math.prod(shapes[static][1:]))
    found["h_weight"] = (rows, hidden)
    if kind.has_output_product:
        found |= {"o_weight": (hidden, hidden), "o_bias": (hidden,)}
    return found


def _data_inputs(node: Node) -> tuple[int, ...]:
    static = static_input(node)
    return (0,) if static is None else (0, static)


def _quantize(node: Node) -> None:
    write_grids(node, inner_products_of(node))


def _grids(node: Node) -> RecurrentGrids:
    return recurrent_grids(node, inner_products_of(node))


def _recurrent(hidden_output: int | None) -> Recurrent:
    # h is a tanh, a product of a sigmoid and a tanh, or a mean of such: it cannot leave [-1, 1].
    return Recurrent(inner_products_of, (-1.0, 1.0), hidden_output, _quantize, is_quantized, _grids)


def _infer_unit(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    previous, gates, cont = shapes
    need_rank(previous, 3)
    if previous[0] != 1:
        raise OpError(f"the first axis of c_prev is the time step and must be 1; c_prev is {describe(previous)}")
    wanted = (1, previous[1], 4 * previous[2])
    if gates != wanted:
        raise OpError(f"c_prev is {describe(previous)}, so the gates must be {describe(wanted)}, not {describe(gates)}")
    if cont != previous[:2]:
        raise OpError(f"c_prev is {describe(previous)}, so cont must be {describe(previous[:2])}, not {describe(cont)}")
    return (previous, previous)


_QUANTIZABLE = Quantizable(on_by_default=True, weights=True, data_inputs=_data_inputs)
_INPUTS = (
    "bottoms x [T, N, ...], cont [T, N] (0 starts anew, 1 goes on), perhaps x_static [N, ...]; with `expose_hidden` "
    "then the initial {initial} [1, N, H], and the last as tops. Without it a batch goes on where the one before ended"
)
_WITH_C = _INPUTS.format(initial="h and c")
_WITHOUT_C = _INPUTS.format(initial="h")

RECURRENT_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.LSTM",
        summary="long short-term memory over the first axis",
        inputs=Arity(2, 5),
        outputs=Arity(1, 3),
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        recurrent=_recurrent(0),
        notes=(
            f"{_WITH_C}. Gates i, f, o, g; cont also multiplies f; blobs W_xc [4H, I], b_c, (W_xc_static), W_hc [4H, H]"
        ),
    ),
    OpDef(
        name="caffe.RNN",
        summary="a recurrent layer with tanh over the first axis",
        inputs=Arity(2, 4),
        outputs=Arity(1, 2),
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        recurrent=_recurrent(None),
        notes=(
            f"{_WITHOUT_C}. h = tanh(W_hh h + W_xh x + b_h), the top is tanh(W_ho h + b_o); blobs W_xh [H, I], b_h, "
            "(W_xh_static), W_hh, W_ho [H, H], b_o. No top has h of every step: quantized, its grid is that of [-1, 1]"
        ),
    ),
    OpDef(
        name="caffe.GRU",
        summary="gated recurrent units over the first axis",
        inputs=Arity(2, 4),
        outputs=Arity(1, 2),
        infer=_infer,
        weight_shapes=_weight_shapes,
        parameter=PARAMETER,
        quantizable=_QUANTIZABLE,
        recurrent=_recurrent(0),
        notes=(
            f"not a layer of BVLC Caffe, so this definition is our choice. {_WITHOUT_C}. Gates z (update), r (reset), "
            "n (candidate), in this order: z and r are sigmoids, n = tanh(W_xn x + b_n + W_hn (r * h)), that is, the "
            "reset comes before the product; h = (1 - z) * n + z * h. Blobs W_xc [3H, I], b_c, (W_xc_static), "
            "W_hc [3H, H]. Quantized, r * h is on the grid of h"
        ),
    ),
    OpDef(
        name="caffe.LSTMUnit",
        summary="one time step of an LSTM, from the sums of its gates",
        inputs=Arity(3, 3),
        outputs=Arity(2, 2),
        infer=_infer_unit,
        notes="bottoms c_prev [1, N, H], gates [1, N, 4H], cont [1, N]; tops c, h",
    ),
)
