"""LSTM and RNN, as Caffe has them. What a GE LSTM quantizes inside, no attribute says, so that it stays in floats."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.ge.fields import flag, whole
from amctc.dialects.ge.filled import constant, has_value, is_read, value_number
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain


def _recurrent(node: Node, layer: str, roles: Mapping[str, str], states: tuple[str, ...], gates: int) -> Kin:
    """`roles`: Caffe's name of each constant, by slot; `states`: the slots of the initial states; rows a unit: `gates`.

    Without `expose_hidden` Caffe's layer has the first output only.
    """
    exposed, units = flag(node, "expose_hidden"), whole(node, "num_output")
    rows = {role: units if role.startswith("o_") else units * gates for role in roles.values()}
    slots = ["x", "cont", *(["x_static"] if has_value(node, "x_static") else []), *(states if exposed else ())]
    if not exposed and any(is_read(node, output) for output in range(1, len(node.outputs))):
        raise NoKin("cannot be run: without `expose_hidden` only its first output can be read")
    inputs = tuple(value_number(node, slot) for slot in slots)
    weights: dict[str, Array] = {}
    for slot, role in roles.items():
        if "static" not in role or "x_static" in slots:
            found = constant(node, slot)
            weights[role] = found.reshape(-1) if role.endswith("bias") else _matrix(slot, found, rows[role])
    param: dict[str, Plain] = {"num_output": units, "expose_hidden": exposed}
    return Kin(
        layer,
        {"recurrent_param": param},
        weights,
        inputs,
        outputs=tuple(range(1 + len(states))) if exposed else (0,),
        unread=lambda shapes: _last_states(shapes, 0 if exposed else len(node.outputs) - 1),
    )


def _matrix(slot: str, weight: Array, rows: int) -> Array:
    if weight.ndim != 2 or weight.shape[0] != rows:
        raise OpError(f"needs a matrix of {rows} rows as its `{slot}`, not {list(weight.shape)}")
    return weight


def _last_states(shapes: tuple[Shape, ...], count: int) -> Mapping[int, Shape]:
    return {1 + number: (1, *shapes[0][1:]) for number in range(count)}


def _lstm(node: Node) -> Kin:
    roles = {"w_x": "x_weight", "bias": "x_bias", "w_x_static": "static_weight", "w_h": "h_weight"}
    return _recurrent(node, "caffe.LSTM", roles, ("h_0", "c_0"), 4)


def _rnn(node: Node) -> Kin:
    roles = {
        "w_xh": "x_weight",
        "bias_h": "x_bias",
        "w_sh": "static_weight",
        "w_hh": "h_weight",
        "w_ho": "o_weight",
        "bias_o": "o_bias",
    }
    return _recurrent(node, "caffe.RNN", roles, ("h_0",), 1)


RECURRENT_OPS: tuple[OpDef, ...] = (
    kin_row("LSTM", _lstm, "caffe.LSTM", notes="Gates i, f, o, g; w_x [4H, I], w_h [4H, H]"),
    kin_row("RNN", _rnn, "caffe.RNN", notes="w_xh [H, I], w_hh and w_ho [H, H]"),
)
