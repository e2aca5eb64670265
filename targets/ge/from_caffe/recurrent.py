"""LSTM and RNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.recurrent import hidden_size, initial_inputs, static_input
from amctc.dialects.ge.prototype import prototypes
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable

_LSTM = {
    "x_weight": "w_x",
    "x_bias": "bias",
    "h_weight": "w_h",
    "static_weight": "w_x_static",
}
_RNN = {
    "x_weight": "w_xh",
    "x_bias": "bias_h",
    "static_weight": "w_sh",
    "h_weight": "w_hh",
    "o_weight": "w_ho",
    "o_bias": "bias_o",
}


def _rule(type: str, slots: Mapping[str, str], states: Sequence[str]) -> Rule:
    """`slots`: where each blob goes; `states`: where the initial states do."""

    def rule(c: Crossing, node: Node) -> None:
        prototype, inputs, static = prototypes()[type], c.inputs(node), static_input(node)
        filled: dict[str, Operand] = {"x": inputs[0], "cont": inputs[1]}
        if static is not None:
            filled["x_static"] = inputs[static]
        filled |= {slot: inputs[index] for slot, index in zip(states, initial_inputs(node), strict=False)}
        filled |= {slots[role]: array for role, array in node.weights.items() if role in slots}
        if any(role not in node.weights for role in slots if role != "static_weight" or static is not None):
            raise Unsayable("has no weights")
        operands = [filled.get(port.name) for port in prototype.inputs]
        exposed = bool(params(node, "recurrent_param").expose_hidden)
        attributes = {"num_output": hidden_size(node), "expose_hidden": exposed}
        made = c.op(node, type, operands, attributes, outputs=len(prototype.outputs))
        c.finish(node, *made.outputs[: len(node.outputs)])

    return rule


RECURRENT: Mapping[str, Rule] = MappingProxyType(
    {"caffe.LSTM": _rule("LSTM", _LSTM, ("h_0", "c_0")), "caffe.RNN": _rule("RNN", _RNN, ("h_0",))}
)
