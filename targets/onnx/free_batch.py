"""How many samples a batch holds, left open in a model of Caffe's layers.

The rules write the sizes of one batch into the model. Here the graph is written a second time, for a batch of twice as
many samples: where both differ in the first number of some Reshapes alone, -1 says it for every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import check_weights, infer_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.ir.node import Array, Shape
from amctc.runtime.lowering.builder import Lowering

if TYPE_CHECKING:
    from onnx import NodeProto

_NEVER_FREE = frozenset({"Scan", "NonMaxSuppression", "Expand"})
_CONSTANT_LAYERS = frozenset({"caffe.PriorBox", "caffe.Parameter", "caffe.DummyData"})
Write = Callable[[Mapping[Value, Shape]], Lowering]


BATCH = "batch"
UNNAMED = "?"


def free_the_batch(graph: Graph, low: Lowering, write: Write) -> Mapping[Value, str]:
    """Take the number of samples out of the constants of `low`, and name the first axis of the values that have them.

    An axis of a multiple of them has no name, `?`.

    Nothing is changed, and there are none, where samples are not alone in the graph: where a layer adds them up, runs
    over time, or cuts the batch. `write` writes the graph for other shapes.
    """
    doubled = _doubled(graph, low.shapes)
    if doubled is None:
        return {}
    batched = _batched(graph, low.shapes, doubled)
    if batched is None or any(_mixes(node, low.constants) for node in low.nodes):
        return {}
    try:
        other = write(doubled)
    except DiagnosticError:
        return {}
    if [node.SerializeToString() for node in low.nodes] != [node.SerializeToString() for node in other.nodes]:
        return {}
    changed = _changed(low, other)
    if changed is None:
        return {}
    low.constants.update(changed)
    samples = next(low.shapes[value][0] for node in graph.nodes if op_def(node).source for value in node.outputs)
    return {value: BATCH if low.shapes[value][0] == samples else UNNAMED for value in batched}


def _doubled(graph: Graph, shapes: Mapping[Value, Shape]) -> Mapping[Value, Shape] | None:
    """The shapes for twice as many samples; None where the inputs do not have one number of them, or no other fits."""
    sources = [value for node in graph.nodes if op_def(node).source for value in node.outputs]
    if not sources or any(node.dialect == "onnx" for node in graph.nodes):
        return None
    firsts = {shapes[value][:1] if value in shapes else () for value in sources}
    if len(firsts) != 1 or firsts & {(), (0,)}:
        return None
    try:
        found = infer_shapes(graph, {value.blob: (2 * shapes[value][0], *shapes[value][1:]) for value in sources})
        if found.keys() != shapes.keys():
            return None
        check_weights(graph.nodes, found)
    except DiagnosticError:
        return None
    return found


def _batched(graph: Graph, once: Mapping[Value, Shape], twice: Mapping[Value, Shape]) -> frozenset[Value] | None:
    """The values that have samples along their first axis; None where others depend on the number of them."""
    fixed: set[Value] = set()
    batched: set[Value] = set()
    for node in graph.nodes:
        constant = node.op in _CONSTANT_LAYERS or (bool(node.inputs) and fixed.issuperset(node.inputs))
        for value in node.outputs:
            old, new = once[value], twice[value]
            if old == new and constant:
                fixed.add(value)
            elif old and new == (2 * old[0], *old[1:]) and not constant:
                batched.add(value)
            else:
                return None
    return frozenset(batched)


def _mixes(node: NodeProto, constants: Mapping[str, Array]) -> bool:
    """Whether a node works along the first axis of what is no constant."""
    if node.op_type in _NEVER_FREE:
        return True
    if node.input and node.input[0] in constants:
        return False
    for attribute in node.attribute:
        if attribute.name == "axis" and attribute.i == 0:
            return True
        if attribute.name == "axes" and 0 in attribute.ints:
            return True
        if attribute.name == "perm" and attribute.ints[:1] != [0]:
            return True
    return False


def _changed(low: Lowering, other: Lowering) -> dict[str, Array] | None:
    """The sizes of Reshapes with -1 for the first; None where the two models differ in anything else."""
    sizes = {node.input[1] for node in low.nodes if node.op_type == "Reshape"}
    rest = {name for node in low.nodes for name in node.input if node.op_type != "Reshape"}
    found: dict[str, Array] = {}
    if low.constants.keys() != other.constants.keys():
        return None
    for name, array in low.constants.items():
        twice = other.constants[name]
        if array is twice or (array.dtype == twice.dtype and np.array_equal(array, twice)):
            continue
        if name not in sizes or name in rest or array.shape != twice.shape:
            return None
        first = array.astype(np.int64)
        if not np.array_equal(array[1:], twice[1:]) or not bool((first > 0).all()):
            return None
        found[name] = np.concatenate([np.array([-1], np.int64), first[1:]])
    return found
