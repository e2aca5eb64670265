"""annotate-quant: write what the policy says of each layer onto its node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from amctc.diagnostics import error
from amctc.dialects.ge import GE
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.dialects.traits import output_channel_axis
from amctc.ir import Graph, InputQuant, Node, NodeQuant, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass


@dataclass(frozen=True)
class AnnotateQuant(Pass):
    """Annotate every layer that the policy quantizes with the settings of its data inputs and weights.

    Nothing is inserted and nothing computed: later passes act on the annotation alone. The hidden state
    of a recurrent layer, of which policies do not speak, takes the settings of its first data input. A layer that has
    an annotation keeps it.
    """

    name: ClassVar[str] = "annotate-quant"
    needs_after: ClassVar[tuple[str, ...]] = ("insert-quant",)
    needs_policy: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        policy = context.need_policy()
        changed, found = False, False
        for node in graph.nodes:
            found |= node.quant is not None
            quant = policy.quant_of(node) if node.quant is None else None
            if quant is None:
                continue
            if quant.weight is not None and (reason := _obstacle(node, quant.weight)):
                help = "skip the layer: `skip_layers: ...`, or `quant_enable` false"
                context.collector.add(node_error("AM511", node, reason, help))
                continue
            node.quant = _with_state(node, quant)
            node.record(self.name, _words(quant), quant.rule)
            changed = True
        # Of a record, apply-record tells what became of each entry.
        if not changed and not found and not context.collector.has_errors and context.record is None:
            help = "switch on at least one layer that can be quantized; `amctc ops` lists the types"
            raise error("AM510", "the policy leaves no layer of this model to quantize", help=help)
        return changed


def _obstacle(node: Node, weight: WeightQuant) -> str | None:
    """Why a layer with weights has no integer form that Dequantize can undo; None when it has one."""
    linear = op_def(node).linear
    if linear is None:
        return None
    if len(node.inputs) != 1:
        return f"it has {len(node.inputs)} inputs, and integer weights go with the scale of one"
    axis = output_channel_axis(node) if weight.channel_wise else 1
    if axis is None:
        return "the shape of its output is not known: the model leaves it open, or a host op before it has no `infer`"
    if axis != 1 and not (node.dialect == GE and _is_last(axis, node)):
        return "its output channels are not on axis 1, so they cannot have scales of their own"
    return None


def _is_last(axis: int, node: Node) -> bool:
    """Whether channels lie innermost, where an AscendDequant finds them too: in NHWC, and in rows of matrices."""
    shape = node.output.shape
    return shape is not None and axis == len(shape) - 1


def _with_state(node: Node, quant: NodeQuant) -> NodeQuant:
    if op_def(node).recurrent is None:
        return quant
    return replace(quant, state=InputQuant(len(node.inputs), quant.inputs[0].settings))


def _words(quant: NodeQuant) -> str:
    bits = "/".join(sorted({str(q.bits) for q in quant.inputs}))
    weights = f", weights in {quant.weight.bits} bits" if quant.weight is not None else ""
    return f"data in {bits} bits{weights}"
