"""Names for the blobs of a Caffe net: SSA values back to names that Caffe accepts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from amctc.dialects.table import op_def
from amctc.ir import Graph, Value


def blob_names(graph: Graph, *, in_place: bool = True) -> Mapping[Value, str]:
    """A blob name for every value, such that Caffe computes what the graph says.

    A value shares the source's name with the next of that name where that one's layer is its sole reader, that
    is where the layer can work in place (and never without `in_place`). Where that leaves several apart, an
    input of the net keeps the name, as it is fed by it; else the last value does, as an in-place blob holds
    its last value. The others are named for the layers that make them.
    """
    by_blob: dict[str, list[Value]] = {}
    for node in graph.nodes:
        for value in node.outputs:
            by_blob.setdefault(value.blob, []).append(value)
    taken = set(by_blob)
    names: dict[Value, str] = {}
    for blob, values in by_blob.items():
        parts = _parts(graph, values, in_place)
        keeper = parts[0] if op_def(parts[0][0].producer).source else parts[-1]
        for part in parts:
            name = blob if part is keeper else _fresh(part[-1].name, taken)
            names |= dict.fromkeys(part, name)
    return names


def _parts(graph: Graph, values: list[Value], in_place: bool) -> list[list[Value]]:
    """The values of one source name, cut wherever a layer cannot work in place."""
    parts = [[values[0]]]
    for value, following in pairwise(values):
        if in_place and _can_work_in_place(graph, value, following):
            parts[-1].append(following)
        else:
            parts.append([following])
    return parts


def _can_work_in_place(graph: Graph, value: Value, following: Value) -> bool:
    node = following.producer
    if not graph.has_single_use(value) or op_def(node).source or len(node.outputs) != 1:
        return False
    if not node.inputs or node.inputs[0] is not value:
        return False
    return following.shape is None or value.shape == following.shape


def _fresh(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name
