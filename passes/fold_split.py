"""fold-split: let the readers of a Split read what it splits.

    Given   data -> split: Split -> (a, b), a -> conv1: Convolution, b -> conv2: Convolution
    Result  data -> conv1: Convolution, data -> conv2: Convolution

Each top equals the bottom: y_i = x. A value may have any number of readers here, and Caffe splits by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import cannot_stand_for, chosen_by_policy, control_edges, layers
from amctc.pipeline.pass_ import Pass


@dataclass(frozen=True)
class FoldSplit(Pass):
    """Remove Split layers: their readers read the value that was split.

    An output of the network keeps its name: the value is named after it. A Split with two outputs of the network
    stays, as does one whose input is an input or another output of it, or that the policy names to be quantized.
    """

    name: ClassVar[str] = "fold-split"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        replaced: dict[Node, list[Node]] = {}
        for node in graph.nodes:
            row = op_def(node)
            if not row.identity or row.outputs.most == 1:
                continue
            reason = chosen_by_policy(node, context) or control_edges(node, context) or _obstacle(graph, node)
            if reason is not None:
                context.refuse(self.name, node.name, reason)
                continue
            replaced.setdefault(node.inputs[0].producer, []).append(node)
            _fold(graph, node)
            context.counts["removed"] += 1
        for producer, nodes in replaced.items():
            producer.record(self.name, f"is read in the place of {layers(nodes)}")
        return bool(replaced)


def _obstacle(graph: Graph, split: Node) -> str | None:
    outputs = [value for value in split.outputs if graph.is_output(value)]
    if len(outputs) > 1:
        names = " and ".join(f"`{value.blob}`" for value in outputs)
        return f"two outputs of the network, {names}, would be one value"
    found = (cannot_stand_for(graph, split.inputs[0], value) for value in split.outputs)
    return next((reason for reason in found if reason is not None), None)


def _fold(graph: Graph, split: Node) -> None:
    source = split.inputs[0]
    for value in split.outputs:
        if graph.is_output(value):
            source.blob = value.blob
        graph.replace_uses(value, source)
    graph.remove(split)
