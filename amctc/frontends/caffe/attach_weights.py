"""Putting the blobs of a weights file into the nodes of a graph, matched by layer name as Caffe does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

import numpy as np

from amctc.diagnostics import Collector, Diagnostic, Level
from amctc.dialects.retrain import DATA_OP, initial_clips
from amctc.dialects.shapes import node_error
from amctc.dialects.table import is_custom, op_def
from amctc.frontends.caffe.custom_layers import blob_roles, weight_shapes_of
from amctc.frontends.caffe.fillers import filled
from amctc.frontends.caffe.nearest_name import nearest_name
from amctc.frontends.caffe.quant_layers import attach_deq_scale
from amctc.frontends.caffe.shared_parameters import parameter_names
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape

Blobs: TypeAlias = Mapping[str, tuple[Array, ...]]


@dataclass(frozen=True)
class _Slot:
    """One weight of one node; `shared` is the name under which other layers have it too."""

    node: Node
    role: str
    index: int
    shape: Shape
    shared: str


def attach_weights(graph: Graph, found: Blobs, shapes: Mapping[Value, Shape], file: str, collector: Collector) -> None:
    """Give every node its weights, as float32 or as stored (int8, int32).

    Layers that share a parameter get one array: Caffe copies all the copies in a file into the same
    blob, so the last one counts. A layer that the file lacks keeps its fillers' values, with a warning
    (AM322), unless they are random, or the file has an unused layer of a similar name, or no layer of
    the net at all (AM313). Layers of the file that the net lacks are ignored. Reports AM314 where blobs
    do not fit, and AM319 where the model does not say what would fit.
    """
    slots: list[_Slot] = []
    for node in graph.nodes:
        if op_def(node).dialect == "quant":
            _attach_quant_weights(node, found.get(node.name, ()), file, collector)
            continue
        if is_custom(node):
            node.weights.update(blob_roles(found.get(node.name, ())))
            continue
        if all(value in shapes for value in node.inputs):
            wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        elif not (blobs := found.get(node.name)):
            continue
        elif (fitting := weight_shapes_of(node, blobs)) is not None:
            wanted = fitting
        else:
            collector.add(_unplaced(node))
            break
        names = parameter_names(node)
        for index, (role, shape) in enumerate(wanted.items()):
            shared = names[index][0] if index < len(names) else ""
            slots.append(_Slot(node, role, index, shape, shared))
    _check_counts(slots, found, file, collector)
    arrays = _own_arrays(slots, found, file, collector)
    _share(slots, arrays, found)
    _fill(slots, arrays, found, file, collector)
    for slot in slots:
        if slot in arrays:
            slot.node.weights[slot.role] = arrays[slot]


def _attach_quant_weights(node: Node, blobs: tuple[Array, ...], file: str, collector: Collector) -> None:
    if node.op == DATA_OP:
        node.weights.update(_clips(node, blobs, file, collector))
        return
    if node.op != "quant.Dequantize":
        return
    if not blobs:
        collector.add(node_error("AM313", node, f"has no weights in `{file}`"))
        return
    attach_deq_scale(node, blobs)


def _clips(node: Node, blobs: tuple[Array, ...], file: str, collector: Collector) -> Mapping[str, Array]:
    """The learned range of a RetrainDataQuant layer; of one that the file lacks what its parameter says."""
    begun = initial_clips(node.attrs)
    if not blobs:
        return begun
    if len(blobs) != len(begun) or any(blob.size != 1 for blob in blobs):
        message = f"needs {len(begun)} blobs of one number ({', '.join(begun)}), `{file}` has others"
        collector.add(node_error("AM314", node, message))
        return begun
    return {role: blob.reshape(1).astype(np.float32) for role, blob in zip(begun, blobs, strict=True)}


def _unplaced(node: Node) -> Diagnostic:
    help = (
        "let the net begin with an Input layer that declares its shape, "
        "and give the host op of a custom layer before this one its `infer`"
    )
    return node_error("AM319", node, "its weights cannot be placed, as the shape of its input is not known", help)


def _check_counts(slots: list[_Slot], found: Blobs, file: str, collector: Collector) -> None:
    for node, own in _by_node(slots):
        blobs = found.get(node.name)
        if blobs is not None and len(blobs) != len(own):
            roles = ", ".join(slot.role for slot in own)
            message = f"needs {len(own)} blobs ({roles}), `{file}` has {len(blobs)}"
            collector.add(node_error("AM314", node, message))


def _own_arrays(slots: list[_Slot], found: Blobs, file: str, collector: Collector) -> dict[_Slot, Array]:
    arrays: dict[_Slot, Array] = {}
    for slot in slots:
        blobs = found.get(slot.node.name, ())
        if slot.index >= len(blobs):
            continue
        blob = blobs[slot.index]
        if _fits(blob.shape, slot.shape):
            arrays[slot] = blob.reshape(slot.shape)
            continue
        message = f"its {slot.role} must have the shape {list(slot.shape)}, the one in `{file}` has {list(blob.shape)}"
        collector.add(node_error("AM314", slot.node, message))
    return arrays


def _share(slots: list[_Slot], arrays: dict[_Slot, Array], found: Blobs) -> None:
    """One array for all that share a parameter; another shape (PERMISSIVE) is a view of it."""
    place = {name: index for index, name in enumerate(found)}
    last: dict[str, tuple[int, Array]] = {}
    for slot in slots:
        if slot.shared and slot in arrays:
            candidate = (place[slot.node.name], arrays[slot])
            last[slot.shared] = max(last.get(slot.shared, candidate), candidate, key=lambda item: item[0])
    for slot in slots:
        if slot.shared in last:
            array = last[slot.shared][1]
            arrays[slot] = array if array.shape == slot.shape else array.reshape(slot.shape)


def _fill(slots: list[_Slot], arrays: dict[_Slot, Array], found: Blobs, file: str, collector: Collector) -> None:
    """Constants for layers that the file lacks and that share nothing with one it has."""
    names = {slot.node.name for slot in slots}
    unused = [name for name, blobs in found.items() if blobs and name not in names]
    wrong_file = names.isdisjoint(found)
    shared: dict[str, Array] = {}
    for node, own in _by_node(slots):
        missing = [slot for slot in own if slot not in arrays]
        if not missing or node.name in found:
            continue
        made = {slot: _filled(slot, shared) for slot in missing}
        nearest = nearest_name(node.name, unused, collector)
        if wrong_file or nearest or any(array is None for array in made.values()):
            help = nearest or "weights are matched by layer name"
            collector.add(node_error("AM313", node, f"has no weights in `{file}`", help))
            continue
        arrays.update({slot: array for slot, array in made.items() if array is not None})
        message = f"has no weights in `{file}`; it keeps what its fillers give, as in Caffe"
        collector.add(replace(node_error("AM322", node, message), level=Level.WARNING))


def _filled(slot: _Slot, shared: dict[str, Array]) -> Array | None:
    """What a filler gives; the first of those that share a parameter decides, as its owner does in Caffe."""
    owner = shared.get(slot.shared)
    if owner is not None:
        return owner.reshape(slot.shape)
    made = filled(slot.node, slot.role, slot.shape)
    if made is not None and slot.shared:
        shared[slot.shared] = made
    return made


def _by_node(slots: list[_Slot]) -> Iterator[tuple[Node, list[_Slot]]]:
    """The slots of each node; those of one node follow each other."""
    for _, own in groupby(slots, key=lambda slot: slot.node.name):
        group = list(own)
        yield group[0].node, group


def _fits(found: Shape, wanted: Shape) -> bool:
    """Caffe's rule: equal, or equal but for leading ones of an old 4-D blob."""
    lead = len(found) - len(wanted)
    return found == wanted or (lead > 0 and found == (1,) * lead + tuple(wanted))
