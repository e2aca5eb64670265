"""annotate-quant: write what the policy says of each layer onto its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.diagnostics import error
from amctc.ir import Graph, NodeQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass


@dataclass(frozen=True)
class AnnotateQuant(Pass):
    """Annotate every layer that the policy quantizes with the settings of its data inputs and weights.

    Nothing is inserted and nothing computed: later passes act on the annotation alone.
    """

    name: ClassVar[str] = "annotate-quant"

    def run(self, graph: Graph, context: Context) -> bool:
        policy = context.need_policy()
        changed = False
        for node in graph.nodes:
            quant = policy.quant_of(node)
            if quant is None:
                continue
            node.quant = quant
            node.record(self.name, _words(quant), quant.rule)
            changed = True
        if not changed:
            help = "switch on at least one layer that can be quantized; `amctc ops` lists the types"
            raise error("AM510", "the policy leaves no layer of this model to quantize", help=help)
        return changed


def _words(quant: NodeQuant) -> str:
    bits = "/".join(sorted({str(q.bits) for q in quant.inputs}))
    weights = f", weights in {quant.weight.bits} bits" if quant.weight is not None else ""
    return f"data in {bits} bits{weights}"
