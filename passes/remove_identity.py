"""remove-identity: take out layers that give back their input.

    Given   data -> conv: Convolution -> drop: Dropout -> fc: InnerProduct -> out
    Result  data -> conv: Convolution -> fc: InnerProduct -> out

y = x, element by element and in shape. The op table says of each op when that holds (`identity`, `changes_nothing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.shapes import other_batch_shapes
from amctc.dialects.table import op_def
from amctc.dialects.traits import changes_nothing
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import cannot_stand_for, chosen_by_policy, control_edges, layers, silence
from amctc.pipeline.pass_ import Pass


@dataclass(frozen=True)
class RemoveIdentity(Pass):
    """Remove layers that give back their input: Dropout, and by their parameters Power, Scale, Reshape, Permute, Tile…

    Whether a layer changes nothing is asked for the known shapes and for a batch of another size. An output of the
    network keeps its name: the value that takes its place is named after it. An input of the network cannot be its
    output as well, nor two outputs one value: such a layer stays. So does one that the policy names to be quantized.
    """

    name: ClassVar[str] = "remove-identity"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        replaced: dict[Node, list[Node]] = {}
        for node in graph.nodes:
            if len(node.outputs) != 1 or not _is_identity(node):
                continue
            source = node.inputs[0]
            reason = (
                chosen_by_policy(node, context)
                or control_edges(node, context)
                or cannot_stand_for(graph, source, node.output)
                or _changes_another_batch(node, graph, context)
            )
            if reason is not None:
                context.refuse(self.name, node.name, reason)
                continue
            others = node.inputs[1:]
            replaced.setdefault(source.producer, []).append(node)
            graph.bypass(node)
            for value in others:
                if not (graph.uses(value) or graph.is_output(value) or op_def(value.producer).source):
                    silence(graph, value, self.name)
            context.counts["removed"] += 1
        for producer, nodes in replaced.items():
            producer.record(self.name, f"is read in the place of {layers(nodes)}, which changed nothing")
        return bool(replaced)


def _is_identity(node: Node) -> bool:
    inputs = node.inputs
    if not inputs or inputs[0].dtype != node.output.dtype:
        return False
    return changes_nothing(node, _shapes(inputs, {value: value.shape for value in inputs}))


def _changes_another_batch(node: Node, graph: Graph, context: Context) -> str | None:
    if op_def(node).identity:
        return None
    shapes = _shapes(node.inputs, context.fact(other_batch_shapes, graph))
    if shapes is None or changes_nothing(node, shapes):
        return None
    return "with another number of samples it would change something"


def _shapes(inputs: tuple[Value, ...], known: Mapping[Value, Shape | None]) -> tuple[Shape, ...] | None:
    found = [shape for value in inputs if (shape := known.get(value)) is not None]
    return tuple(found) if len(found) == len(inputs) else None
