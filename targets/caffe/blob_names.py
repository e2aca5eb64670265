"""Names for the blobs of a Caffe net: SSA values back to names that Caffe accepts."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.table import op_def
from amctc.ir import Graph, Value


def blob_names(graph: Graph, *, in_place: bool = True) -> Mapping[Value, str]:
    """A blob name for every value, such that Caffe computes what the graph says.

    The last value of each source name keeps it, as an in-place blob holds its last value. An earlier
    one shares the name only where the next is its sole reader, that is where the layer can work in
    place (and never without `in_place`); otherwise it is named for the layer that makes it.
    """
    by_blob: dict[str, list[Value]] = {}
    for node in graph.nodes:
        for value in node.outputs:
            by_blob.setdefault(value.blob, []).append(value)
    taken = set(by_blob)
    names: dict[Value, str] = {}
    for blob, values in by_blob.items():
        name = blob
        for position in range(len(values) - 1, -1, -1):
            value = values[position]
            if position < len(values) - 1 and not (in_place and _can_work_in_place(graph, value, values[position + 1])):
                name = _fresh(value.name, taken)
            names[value] = name
    return names


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
