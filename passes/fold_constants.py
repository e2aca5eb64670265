"""fold-constants: compute once what depends on no input of the network.

    Given   c: DummyData -> half: Power (0.5*x) -> (half, data) -> sum: Eltwise -> out
    Result  half_constant: Parameter (the numbers of half) -> (half_constant, data) -> sum: Eltwise -> out

A layer is constant if all its inputs are; DummyData and Parameter layers are to begin with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.ge import GE
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.table import op_def
from amctc.dialects.traits import may_be_constant
from amctc.ir import Graph, Node, Provenance, Value
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import chosen_by_policy, control_edges, silence
from amctc.pipeline.options import option
from amctc.pipeline.pass_ import Pass
from amctc.runtime.executor import Executor
from amctc.text.plain import Plain

_FLOAT32 = 4  # bytes
_CONSTANTS: Mapping[str, str] = {ONNX: f"{ONNX}.Constant", GE: f"{GE}.Const"}
"""Ops that hold a constant, by dialect."""
_TOGETHER = 256
"""Layers that are computed in one go: ONNX Runtime takes more than twice the time for twice as many."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute layers that depend on no input of the network, and put Parameter layers, or constants, in their place.

    No constant of more than `limit` bytes is made: such a layer, and what follows it, stays. So does a layer that
    the policy names to be quantized, and one that may give something else in another batch (recurrent layers, custom
    layers). The values keep their names. A network without any input is left as it is.
    """

    limit: int = option(1 << 24, help="the largest constant to make, in bytes", least=0)

    name: ClassVar[str] = "fold-constants"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        if not any(op_def(node).source for node in graph.nodes):
            return False
        constant = self._constant_nodes(graph, context)
        folded = [node for node in constant if node.inputs]
        arrays = self._compute(graph, folded, context)
        if not arrays:
            return False
        for value, array in arrays.items():
            _put(graph, value, array, self.name)
            context.counts["constants"] += 1
        _remove_unread(graph, constant, self.name)
        return True

    def _constant_nodes(self, graph: Graph, context: Context) -> list[Node]:
        """The layers to be computed and the constants that they begin with, in the order of the graph."""
        found: dict[Node, None] = {}
        for node in graph.nodes:
            if not all(value.producer in found for value in node.inputs) or not may_be_constant(node):
                continue
            reason = self._obstacle(graph, node) if node.inputs else None
            if reason is None and node.inputs:
                reason = chosen_by_policy(node, context) or control_edges(node, context)
            if reason is not None:
                context.refuse(self.name, node.name, reason)
            elif node.outputs and _has_weights(node):
                found[node] = None
        return list(found)

    def _obstacle(self, graph: Graph, node: Node) -> str | None:
        for value in node.outputs:
            if value.shape is None or value.dtype != "float32":
                return f"`{value.blob}` has no known shape" if value.shape is None else f"`{value.blob}` is no float32"
            if 0 in value.shape:
                return f"`{value.blob}` is empty"
            size = _FLOAT32 * math.prod(value.shape)
            if size > self.limit:
                return f"`{value.blob}` takes {size} bytes, and the limit is {self.limit}"
            differing = next((u.node for u in graph.uses(value) if op_def(u.node).in_place_differs(u.node)), None)
            if differing is not None:
                return f"`{differing.name}` would no longer work in place"
        return None

    def _compute(self, graph: Graph, folded: Sequence[Node], context: Context) -> Mapping[Value, NDArray[Any]]:
        """The values that layers which are not folded read, or that are outputs; none where one cannot be had."""
        found: dict[Value, NDArray[Any]] = {}
        try:
            for start in range(0, len(folded), _TOGETHER):
                found |= _evaluated(graph, folded[start : start + _TOGETHER], found)
        except DiagnosticError as mistake:
            reason = f"it cannot be computed: {mistake.diagnostics[0].message}"
        else:
            surprise = next((value for value, array in found.items() if array.shape != value.shape), None)
            if surprise is None:
                inside = set(folded)
                return {value: array for value, array in found.items() if _is_wanted(graph, value, inside)}
            reason = f"the shape of `{surprise.blob}` is known only when it has been computed"
        for node in folded:
            context.refuse(self.name, node.name, reason)
        return {}


def _evaluated(graph: Graph, nodes: Sequence[Node], known: Mapping[Value, NDArray[Any]]) -> dict[Value, NDArray[Any]]:
    """What others read of some layers, which read `known` values and layers without inputs.

    They are run in a graph of their own, so that it takes no longer in a large network.
    """
    small, inside = Graph(), set(nodes)
    small.attrs = dict(graph.attrs)
    copies: dict[Value, Value] = {}
    for node in nodes:
        for value in node.inputs:
            if value in copies:
                continue
            if value in known:
                op, attrs, weights = _constant(node.dialect, known[value])
                name = small.unused_name(f"{value.name} computed")
                copies[value] = small.add(name, op, (), [value.blob], attrs=attrs, weights=weights).output
            else:
                _copy(small, value.producer, copies)
        _copy(small, node, copies)
    wanted = [value for node in nodes for value in node.outputs if _is_wanted(graph, value, inside)]
    found = Executor(small, fetch=[copies[value] for value in wanted], threads=1).run({})
    return {value: found[copies[value]] for value in wanted}


def _copy(small: Graph, node: Node, copies: dict[Value, Value]) -> None:
    inputs, blobs = [copies[value] for value in node.inputs], [value.blob for value in node.outputs]
    name = small.unused_name(node.name)
    copy = small.add(name, node.op, inputs, blobs, attrs=node.attrs, weights=node.weights)
    copies.update(zip(node.outputs, copy.outputs, strict=True))


def _constant(dialect: str, array: NDArray[Any]) -> tuple[str, dict[str, Plain], dict[str, NDArray[np.generic]]]:
    """Op, attributes and weights of what holds an array: ONNX's Constant, GE's Const, or else a Parameter layer."""
    numbers: NDArray[np.generic] = np.asarray(array, np.float32, order="C")
    if dialect in _CONSTANTS:
        return _CONSTANTS[dialect], {}, {"value": numbers}
    return "caffe.Parameter", {"parameter_param": {"shape": {"dim": array.shape}}}, {"weight": numbers}


def _has_weights(node: Node) -> bool:
    shapes = [value.shape for value in node.inputs if value.shape is not None]
    try:
        return op_def(node).weight_shapes(node, tuple(shapes)).keys() <= node.weights.keys()
    except (OpError, UnknownShape):
        return False


def _is_wanted(graph: Graph, value: Value, folded: Set[Node]) -> bool:
    return graph.is_output(value) or any(use.node not in folded for use in graph.uses(value))


def _put(graph: Graph, value: Value, array: NDArray[Any], by: str) -> None:
    node, uses = value.producer, graph.uses(value)
    name = graph.unused_name(f"{node.name}_constant")
    # A layer that worked in place would write over the parameter, which the next batch reads again.
    in_place = any(output.blob == value.blob for use in uses for output in use.node.outputs)
    op, attrs, weights = _constant(node.dialect, array)
    new = graph.add(
        name,
        op,
        (),
        [name if in_place else value.blob],
        attrs=attrs,
        weights=weights,
        # It takes over no arithmetic, and none of what the policy says of the layer's inputs.
        provenance=Provenance(node.origin, inserted=True),
        beside=node,
    )
    new.output.shape = array.shape
    new.record(by, f"holds `{value.blob}`, which {node.type} `{node.name}` computed from constants")
    graph.replace_uses(value, new.output)


def _remove_unread(graph: Graph, constant: Sequence[Node], by: str) -> None:
    """Remove the constants that nobody reads any more; a top that is left over of one with others goes silent."""
    read = {value for node in constant for value in node.inputs}
    for node in reversed(constant):
        wanted = [value for value in node.outputs if graph.uses(value) or graph.is_output(value)]
        if not wanted and (node.inputs or any(value in read for value in node.outputs)):
            graph.remove(node)
            continue
        for value in node.outputs:
            if value in read and value not in wanted:
                silence(graph, value, by)
