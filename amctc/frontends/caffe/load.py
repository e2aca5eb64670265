"""A net file and its weights to a graph of the caffe dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from amctc.diagnostics import Collector, Diagnostic, Label, Level
from amctc.dialects.caffe.fork_defaults import ForkDefaults
from amctc.dialects.caffe.schema import caffe_schema
from amctc.dialects.op import OpDef, OpError
from amctc.dialects.retrain import trained_weights
from amctc.dialects.shapes import annotate_shapes, node_error
from amctc.dialects.table import op_def, op_table, ops_of
from amctc.frontends.caffe.attach_weights import attach_weights
from amctc.frontends.caffe.custom_layers import check_custom_layer
from amctc.frontends.caffe.layer_def import BlobName, LayerDef
from amctc.frontends.caffe.nearest_name import is_worth_looking, nearest_name
from amctc.frontends.caffe.net import NetDef, NetFile, read_net
from amctc.frontends.caffe.net_state import NetState
from amctc.frontends.caffe.producers import Producers
from amctc.frontends.caffe.quant_layers import QUANT_LAYERS, misread_integers, quant_node
from amctc.frontends.caffe.shared_parameters import shared_parameter_clashes
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node, Origin, Provenance, Value
from amctc.text.bulk import building
from amctc.text.proto_schema import Schema


def load_caffe(
    model: str | Path | NetFile,
    weights: str | Path | None = None,
    collector: Collector | None = None,
    *,
    state: NetState | None = None,
    keep_training: bool = False,
    custom_protos: Sequence[str | Path] = (),
) -> Graph:
    """A Caffe net as a graph: a prototxt or a binary net, of any age (V0, V1, V2), or one that has been read.

    Without `weights` the graph has those of a binary net that holds them, or else none: enough to
    look at it and to resolve policies, not to run it. `state` says phase, level and stages (default:
    TEST, 0, none; the file's own stages are always set); in phase TRAIN every node has the attribute
    `phase: TRAIN`. Losses and scores are left out (AM306) unless `keep_training`. With
    `custom_protos`, `.proto` files of the user's, a layer of unknown type is a custom layer, and what
    these files say of known ones counts. Warnings go to `collector`. Raises `DiagnosticError` (AM1xx
    for the protos, AM3xx) with every mistake found.
    """
    own = collector if collector is not None else Collector()
    schema = _schema(custom_protos, own)
    with building():
        net = read_net(model, own, state, schema)
        graph = _build(net, own, keep_training, ForkDefaults(schema) if custom_protos else None)
    own.raise_errors()
    shapes = annotate_shapes(graph)
    own.extend(misread_integers(graph))
    own.extend(shared_parameter_clashes(graph, shapes))
    own.raise_errors()
    if weights is not None:
        attach_weights(graph, read_weights(weights), shapes, str(weights), own)
    elif net.binary and not isinstance(model, NetFile):
        found = read_weights(model)
        if any(found.values()):
            attach_weights(graph, found, shapes, str(model), own)
    own.raise_errors()
    return graph


def _schema(custom_protos: Sequence[str | Path], collector: Collector) -> Schema:
    if not custom_protos:
        return caffe_schema()
    from amctc.dialects.caffe.merged_schema import schema_with  # slow to import, and seldom needed

    return schema_with(custom_protos, collector)


def _build(net: NetDef, collector: Collector, keep_training: bool, fork: ForkDefaults | None) -> Graph:
    graph = Graph(net.name)
    graph.attrs = dict(net.attrs)
    layers = list(net.layers) if keep_training else _without_training(net.layers, collector)
    producers = Producers(layers)
    latest: dict[str, Value] = {}
    read: set[Value] = set()
    consumed: set[Value] = set()
    for written in layers:
        if written.name in graph:
            message = f"there are two layers named `{written.name}`"
            collector.add(Diagnostic("AM305", message, span=written.name_span))
            continue
        op = QUANT_LAYERS.get(written.type, f"caffe.{written.type}")
        row = op_table().get(op)
        layer = written if row is None else _with_automatic_top(written, row, latest)
        if row is None:
            collector.extend(_unknown_type(layer, fork is not None, collector))
        inputs = _inputs(layer, net, producers, latest, collector)
        _check_tops(layer, latest, read, collector)
        node = graph.add(
            layer.name,
            op,
            inputs,
            [top.name for top in layer.tops],
            attrs=layer.attrs if fork is None else fork.written_out(layer.attrs, row.parameter if row else None),
            provenance=Provenance(Origin(net.source.name, layer.span.line, layer.span)),
        )
        read.update(inputs)
        if op != "quant.Observe":  # what is only watched stays an output
            consumed.update(inputs)
        latest.update({value.blob: value for value in node.outputs})
        if row is not None:
            _check_arity(node, row, layer, collector)
            try:
                if row.dialect == "quant":
                    quant_node(node)
                trained_weights(node)
            except OpError as mistake:
                collector.add(node_error("AM320", node, str(mistake)))
    graph.outputs = _outputs(graph, consumed)
    return graph


def _outputs(graph: Graph, read: Set[Value]) -> list[Value]:
    """What no layer reads; but not what is fed and read by nobody, such as labels, where there is something else."""
    unread = [value for node in graph.nodes for value in node.outputs if value not in read]
    computed = [value for value in unread if not op_def(value.producer).source]
    return computed or unread


def _without_training(layers: tuple[LayerDef, ...], collector: Collector) -> list[LayerDef]:
    """The layers but those that only training and testing need, and those that read what these produce."""
    kept: list[LayerDef] = []
    there: set[str] = set()
    gone: set[str] = set()
    for layer in layers:
        row = op_table().get(f"caffe.{layer.type}")
        reads = next((name for name in (b.name for b in layer.bottoms) if name in gone and name not in there), None)
        if row is not None and row.training_only:
            why = "serves training only"
        elif reads is not None:
            why = f"reads `{reads}` of a layer that serves training only"
        else:
            kept.append(layer)
            there.update(top.name for top in layer.tops)
            continue
        gone.update(top.name for top in layer.tops)
        message = f"layer `{layer.name}` ({layer.type}) {why} and is left out"
        collector.add(Diagnostic("AM306", message, level=Level.WARNING, span=layer.name_span))
    return kept


def _with_automatic_top(layer: LayerDef, row: OpDef, latest: Mapping[str, Value]) -> LayerDef:
    """A loss that names no top gets one, as in Caffe, called as the layer is."""
    if layer.tops or not row.training_only or not layer.type.endswith("Loss"):
        return layer
    name = layer.name if layer.name not in latest else "(automatic)"
    return replace(layer, tops=(BlobName(name, layer.name_span),))


def _unknown_type(layer: LayerDef, with_protos: bool, collector: Collector) -> Iterator[Diagnostic]:
    if layer.type == "Python":
        message = f"layer `{layer.name}` runs Python code, which is not part of the model and is not run"
        help = "replace it by Caffe layers that compute the same, or give it a type of its own, as a custom layer"
        yield Diagnostic("AM321", message, span=layer.type_span, help=help)
        return
    known = [row.type for row in ops_of(("caffe",)).values()]
    problem = check_custom_layer(layer, with_protos, known, nearest_name(layer.type, known, collector))
    if problem is not None:
        yield problem


def _inputs(
    layer: LayerDef, net: NetDef, producers: Producers, latest: Mapping[str, Value], collector: Collector
) -> list[Value]:
    inputs: list[Value] = []
    for bottom in layer.bottoms:
        if bottom.name in latest:
            inputs.append(latest[bottom.name])
            continue
        later = producers.first(bottom.name)
        if later is None:
            message = f"layer `{layer.name}` reads the blob `{bottom.name}`, which no layer produces"
            help = net.makers_left_out(bottom.name) or nearest_name(bottom.name, latest, collector)
            collector.add(Diagnostic("AM308", message, span=bottom.span, help=help))
            continue
        related = (Label(later.name_span, f"`{bottom.name}` is produced here"),)
        if is_worth_looking(collector) and producers.depends(later, layer):
            message = f"layers `{layer.name}` and `{later.name}` form a cycle through the blob `{bottom.name}`"
            collector.add(Diagnostic("AM309", message, span=bottom.span, related=related))
        else:
            message = f"layer `{layer.name}` reads the blob `{bottom.name}` before `{later.name}` produces it"
            help = "Caffe runs layers in the order of the file: move the producer up"
            collector.add(Diagnostic("AM308", message, span=bottom.span, related=related, help=help))
    return inputs


def _check_tops(layer: LayerDef, latest: Mapping[str, Value], read: Set[Value], collector: Collector) -> None:
    """A blob may be written twice only in place, and only while no layer before (`read`) has read it.

    In place is a top named as the bottom of the same index: so it is in Caffe.
    """
    written: set[str] = set()
    for index, top in enumerate(layer.tops):
        if top.name in written:
            message = f"layer `{layer.name}` has two tops named `{top.name}`"
            collector.add(Diagnostic("AM315", message, span=top.span))
        written.add(top.name)
        if top.name not in latest:
            continue
        old = latest[top.name]
        if index >= len(layer.bottoms) or layer.bottoms[index].name != top.name:
            message = f"the blob `{top.name}` is produced by `{old.producer.name}` and again by `{layer.name}`"
            collector.add(Diagnostic("AM315", message, span=top.span))
        elif old in read:
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
    given = layer.attrs.get("loss_weight")
    if isinstance(given, tuple) and len(given) != len(node.outputs):
        message = f"has {len(given)} `loss_weight` for {len(node.outputs)} tops; give none, or one for each"
        collector.add(node_error("AM316", node, message))
