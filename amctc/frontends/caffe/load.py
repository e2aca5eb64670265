"""prototxt and caffemodel to a graph of the caffe dialect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amctc.diagnostics import Collector, Diagnostic, Label, Level, did_you_mean
from amctc.dialects.op import OpDef
from amctc.dialects.shapes import annotate_shapes, node_error
from amctc.dialects.table import op_def, op_table
from amctc.frontends.caffe.net import LayerDef, NetDef, read_net
from amctc.frontends.caffe.quant_layers import QUANT_LAYERS, attach_deq_scale, quant_node
from amctc.frontends.caffe.shared_parameters import shared_parameter_clashes
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node, Origin, Provenance, Value
from amctc.ir.graph import Array, Shape

TRAINING_LAYERS = frozenset(
    {
        "Accuracy",
        "ContrastiveLoss",
        "EuclideanLoss",
        "HingeLoss",
        "InfogainLoss",
        "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss",
        "SoftmaxWithLoss",
    }
)
"""Layers that only training and testing need; they are left out of the graph."""


def load_caffe(model: str | Path, weights: str | Path | None = None, collector: Collector | None = None) -> Graph:
    """A Caffe net in phase TEST as a graph.

    Without `weights` the graph has no weights: enough to look at it and to resolve policies, not to
    run it. Warnings go to `collector`. Raises `DiagnosticError` (AM3xx) with every mistake found.
    """
    own = collector if collector is not None else Collector()
    net = read_net(model, own)
    graph = _build(net, own)
    own.raise_errors()
    shapes = annotate_shapes(graph)
    own.extend(shared_parameter_clashes(graph, shapes))
    if weights is not None:
        _attach_weights(graph, read_weights(weights), shapes, str(weights), own)
    own.raise_errors()
    return graph


def _build(net: NetDef, collector: Collector) -> Graph:
    graph = Graph(net.name)
    latest: dict[str, Value] = {}
    layers = [layer for layer in net.layers if not _is_dropped(layer, collector)]
    for layer in layers:
        if layer.name in graph:
            message = f"there are two layers named `{layer.name}`"
            collector.add(Diagnostic("AM305", message, span=layer.name_span))
            continue
        op = QUANT_LAYERS.get(layer.type, f"caffe.{layer.type}")
        row = op_table().get(op)
        if row is None:
            collector.add(_unknown_type(layer))
        inputs = _inputs(layer, layers, latest, collector)
        node = graph.add(
            layer.name,
            op,
            inputs,
            [top.name for top in layer.tops],
            attrs=layer.attrs,
            provenance=Provenance(Origin(net.source.name, layer.span.line, layer.span)),
        )
        _check_tops(layer, latest, graph, collector)
        latest.update({value.blob: value for value in node.outputs})
        if row is not None:
            _check_arity(node, row, layer, collector)
            if row.dialect == "quant":
                quant_node(node)
    graph.outputs = [value for node in graph.nodes for value in node.outputs if not graph.uses(value)]
    return graph


def _is_dropped(layer: LayerDef, collector: Collector) -> bool:
    if layer.type not in TRAINING_LAYERS:
        return False
    message = f"layer `{layer.name}` ({layer.type}) serves training only and is left out"
    collector.add(Diagnostic("AM306", message, level=Level.WARNING, span=layer.name_span))
    return True


def _unknown_type(layer: LayerDef) -> Diagnostic:
    known = [row.type for row in op_table().values() if row.dialect == "caffe"]
    help = did_you_mean(layer.type, known) or "`amctc ops` lists the layer types that are known"
    message = f"layer `{layer.name}` has the unknown type `{layer.type}`"
    return Diagnostic("AM307", message, span=layer.type_span, help=help)


def _inputs(layer: LayerDef, layers: list[LayerDef], latest: Mapping[str, Value], collector: Collector) -> list[Value]:
    inputs: list[Value] = []
    for bottom in layer.bottoms:
        if bottom.name in latest:
            inputs.append(latest[bottom.name])
            continue
        makers = [other for other in layers if any(top.name == bottom.name for top in other.tops)]
        if not makers:
            message = f"layer `{layer.name}` reads the blob `{bottom.name}`, which no layer produces"
            help = did_you_mean(bottom.name, latest)
            collector.add(Diagnostic("AM308", message, span=bottom.span, help=help))
            continue
        later = makers[0]
        related = (Label(later.name_span, f"`{bottom.name}` is produced here"),)
        if _depends(later, layer, layers):
            message = f"layers `{layer.name}` and `{later.name}` form a cycle through the blob `{bottom.name}`"
            collector.add(Diagnostic("AM309", message, span=bottom.span, related=related))
        else:
            message = f"layer `{layer.name}` reads the blob `{bottom.name}` before `{later.name}` produces it"
            help = "Caffe runs layers in the order of the file: move the producer up"
            collector.add(Diagnostic("AM308", message, span=bottom.span, related=related, help=help))
    return inputs


def _depends(layer: LayerDef, on: LayerDef, layers: list[LayerDef]) -> bool:
    """Whether `layer` reads, perhaps through others, a blob that `on` produces."""
    makers: dict[str, list[LayerDef]] = {}
    for other in layers:
        for top in other.tops:
            makers.setdefault(top.name, []).append(other)
    seen: set[str] = set()
    waiting = [layer]
    while waiting:
        current = waiting.pop()
        if current is on:
            return True
        if current.name in seen:
            continue
        seen.add(current.name)
        waiting.extend(maker for bottom in current.bottoms for maker in makers.get(bottom.name, ()))
    return False


def _check_tops(layer: LayerDef, latest: Mapping[str, Value], graph: Graph, collector: Collector) -> None:
    """A blob may be written twice only in place, and only while nobody else has read it."""
    bottoms = {bottom.name for bottom in layer.bottoms}
    for top in layer.tops:
        if top.name not in latest:
            continue
        old = latest[top.name]
        if top.name not in bottoms:
            message = f"the blob `{top.name}` is produced by `{old.producer.name}` and again by `{layer.name}`"
            collector.add(Diagnostic("AM315", message, span=top.span))
        elif any(use.node.name != layer.name for use in graph.uses(old)):
            message = f"layer `{layer.name}` overwrites the blob `{top.name}` in place, which another layer reads"
            help = "give the layer a top of its own"
            collector.add(Diagnostic("AM315", message, span=top.span, help=help))


def _check_arity(node: Node, row: OpDef, layer: LayerDef, collector: Collector) -> None:
    for count, arity, word in (
        (len(layer.bottoms), row.inputs, "bottom"),
        (len(node.outputs), row.outputs, "top"),
    ):
        if not arity.allows(count):
            collector.add(node_error("AM316", node, f"takes {arity} {word}s, this one has {count}"))


def _attach_weights(
    graph: Graph,
    found: Mapping[str, tuple[Array, ...]],
    shapes: Mapping[Value, Shape],
    file: str,
    collector: Collector,
) -> None:
    for node in graph.nodes:
        row = op_def(node)
        wanted = row.weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        if row.dialect == "quant":
            _attach_quant_weights(node, found.get(node.name, ()), file, collector)
            continue
        if not wanted:
            continue
        blobs = found.get(node.name)
        if blobs is None:
            help = did_you_mean(node.name, found) or "weights are matched by layer name"
            collector.add(node_error("AM313", node, f"has no weights in `{file}`", help))
            continue
        if len(blobs) != len(wanted):
            roles = ", ".join(wanted)
            message = f"needs {len(wanted)} blobs ({roles}), `{file}` has {len(blobs)}"
            collector.add(node_error("AM314", node, message))
            continue
        for (role, shape), blob in zip(wanted.items(), blobs, strict=True):
            if not _fits(blob.shape, shape):
                message = f"its {role} must have the shape {list(shape)}, the one in `{file}` has {list(blob.shape)}"
                collector.add(node_error("AM314", node, message))
                continue
            node.weights[role] = _as_weight(blob).reshape(shape)


def _attach_quant_weights(node: Node, blobs: tuple[Array, ...], file: str, collector: Collector) -> None:
    if node.op != "quant.Dequantize":
        return
    if not blobs:
        collector.add(node_error("AM313", node, f"has no weights in `{file}`"))
        return
    attach_deq_scale(node, blobs)


def _fits(found: Shape, wanted: Shape) -> bool:
    """Caffe's rule: equal, or equal but for leading ones of an old 4-D blob."""
    lead = len(found) - len(wanted)
    return found == wanted or (lead > 0 and found == (1,) * lead + tuple(wanted))


def _as_weight(blob: Array) -> Array:
    return blob.astype(np.float32) if blob.dtype == np.float64 else blob
