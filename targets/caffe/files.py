"""A graph as a prototxt and a caffemodel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.dialects.table import is_custom
from amctc.ir import Graph, Node
from amctc.ir.node import Array
from amctc.targets.caffe.blob_names import blob_names
from amctc.targets.caffe.lookup_tables import LookupBlob, lookup_blobs
from amctc.targets.caffe.quant_layers import CaffeLayer, quant_layer
from amctc.targets.caffe.shared_names import apart_names, without_names
from amctc.text.plain import Plain, plain_to_text
from amctc.text.proto_schema import load_schema


def prototxt(graph: Graph, *, fake: bool = False, in_place: bool = True) -> str:
    """The structure of the net as text; without `in_place` every layer has tops of its own."""
    return net_text(graph, _layers(graph, fake), in_place=in_place)


def net_text(graph: Graph, written: Iterable[tuple[Node, CaffeLayer]], *, in_place: bool = True) -> str:
    """The net as text, each node as the layer that stands for it."""
    names = blob_names(graph, in_place=in_place)
    apart = apart_names(graph.nodes)
    layers: list[Plain] = []
    for node, layer in written:
        entry: dict[str, Plain] = {"name": node.name, "type": layer.type}
        if node.inputs:
            entry["bottom"] = tuple(names[value] for value in node.inputs)
        if node.outputs:
            entry["top"] = tuple(names[value] for value in node.outputs)
        layers.append(entry | without_names(layer.attrs, apart))
    net: dict[str, Plain] = {"name": graph.name} if graph.name else {}
    net |= graph.attrs
    net["layer"] = tuple(layers)
    return plain_to_text(net, caffe_schema().descriptor(NET))


def caffemodel(graph: Graph, *, fake: bool) -> bytes:
    """The weights of the net as a binary `NetParameter`; float32, int8, int32 and uint64 blobs, and tables with codes.

    Every layer is named, as Caffe does it: a net without any weights gives a file that can be read too.
    """
    return net_weights(graph, _layers(graph, fake))


def net_weights(graph: Graph, written: Iterable[tuple[Node, CaffeLayer]]) -> bytes:
    """The blobs of the layers that stand for the nodes, as a binary `NetParameter`."""
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    message.name = graph.name
    for node, layer in written:
        entry = message.layer.add()
        entry.name, entry.type = node.name, layer.type
        for array in layer.blobs:
            write_blob(entry.blobs.add(), array)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _layers(graph: Graph, fake: bool) -> Iterator[tuple[Node, CaffeLayer]]:
    for node in graph.nodes:
        if node.dialect == "quant":
            yield node, quant_layer(node, fake=fake)
            continue
        if fake and not is_custom(node):
            floats = tuple(map(_as_float, node.weights.values()))
            yield node, CaffeLayer(node.type, node.attrs, floats)
            continue
        packed = lookup_blobs(node)
        blobs = tuple(packed.get(role, array) for role, array in node.weights.items())
        yield node, CaffeLayer(node.type, node.attrs, blobs)


def _as_float(array: Array) -> Array:
    # A fake-quant model holds the very integers of the deploy model, in float32.
    return array.astype(np.float32, copy=False)


def write_blob(blob: Any, array: Array | LookupBlob) -> None:
    """Put an array into a blob message: float32, int8, int32 or uint64, or codes with their tables."""
    blob.shape.dim.extend(array.shape)
    if isinstance(array, LookupBlob):
        array.write(blob)
        return
    match array.dtype.name:
        case "float32":
            blob.data.append(np.ascontiguousarray(array, "<f4").tobytes())
        case "int8":
            blob.int8_data = np.ascontiguousarray(array).tobytes()
        case "int32":
            blob.int32_data.extend(array.ravel().tolist())
        case "uint64":
            blob.uint64_data.extend(array.ravel().tolist())
        case other:
            raise ValueError(f"a Caffe blob cannot hold {other}")
