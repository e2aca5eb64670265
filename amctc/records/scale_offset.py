"""The scale and offset record of a quantized graph: `ScaleOffsetRecord` of the manual, in text form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from amctc.dialects.ge.slots import as_nchw
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.records.factors import LayerFactors, factors_of, unseen_state, weight_scales, weight_tables
from amctc.records.scale_record import InputRecord, LayerRecord, record_text


def scale_offset_record(graph: Graph) -> str:
    """The record of a quantized graph (seed 001, 量化因子记录文件说明).

    One entry a layer in graph order; `record_d` for each data input, with the input's channels,
    height and width where it is a 4-D blob; `scale_w` and `offset_w` for layers with weights only. A
    recurrent layer has a `record_d` more, for its hidden state, whose index is the number of its inputs,
    and a `scale_w` for each inner product, in the order of its blobs. Clustered weights have `cluster`, the
    16 levels of each `scale_w`. `skip_fusion` is written where a
    BatchNorm, Scale or Bias was left apart, and `object_layer` where a layer was made in place of
    others: it is the last of them. A layer whose
    channels were balanced has `tensor_balance_factor`, and one whose scales are those of half precision its
    `fakequant_precision_mode`. So the record gives the same quantized model again.
    """
    return record_text(layer_records(graph))


def layer_records(graph: Graph) -> Iterator[LayerRecord]:
    """The entries of the record, in graph order; a float layer has one only where it says `skip_fusion`."""
    for node in graph.nodes:
        found = factors_of(node)
        yield from _entries(node, _entry(found) if found is not None else None)


def weight_records(graph: Graph) -> Iterator[LayerRecord]:
    """The entries with what is known before calibration.

    That are the scales of the weights, the factors of hidden states that no output shows, and what was left apart.
    """
    for node in graph.nodes:
        scales, quant = weight_scales(node), node.quant
        if scales is None or quant is None or quant.weight is None:
            yield from _entries(node, None)
            continue
        entry = _with_balance(_named(node), node).with_weights(scales, quant.weight.bits, weight_tables(node))
        state = unseen_state(node)
        if state is not None and quant.state is not None:
            entry = replace(entry, inputs=(input_record(quant.state.index, *state, quant.state.bits, None),))
        yield from _entries(node, entry)


def input_record(index: int, scale: float, offset: int, bits: int, shape: Shape | None) -> InputRecord:
    """What is recorded of an input of this shape; None where it is not known, or there is none."""
    channels, height, width = shape[1:] if shape is not None and len(shape) == 4 else (None, None, None)
    return InputRecord(index, scale, offset, bits, channels, height, width)


def _entry(layer: LayerFactors) -> LayerRecord:
    inputs = tuple(
        input_record(given.index, given.scale, given.offset, given.bits, as_nchw(layer.node, given.shape))
        for given in layer.inputs
    )
    entry = _with_balance(replace(_named(layer.node), inputs=inputs), layer.node)
    return entry if layer.scale_w is None else entry.with_weights(layer.scale_w, layer.bits_w, layer.tables_w)


def _with_balance(entry: LayerRecord, node: Node) -> LayerRecord:
    """The entry with what the annotation says beside scales and offsets."""
    if node.quant is None:
        return entry
    said = replace(entry, precision_mode=node.quant.precision_mode)
    balance = node.quant.balance
    return said if balance is None else replace(said, balance=balance.factors, balance_folded=balance.folded)


def _named(node: Node) -> LayerRecord:
    absorbed = node.provenance.absorbed
    made = absorbed[-1] if node.provenance.inserted and absorbed else None
    return LayerRecord(node.name, object_layer=made)


def _entries(node: Node, entry: LayerRecord | None) -> Iterator[LayerRecord]:
    """The entry of a layer, if it has one, and what keeps those behind it from going into it."""
    apart = _left_apart(node)
    if apart is None:
        yield from () if entry is None else (entry,)
        return
    if node.provenance.absorbed:  # some went in: the chain ends at the first that did not
        yield from () if entry is None else (entry,)
        yield LayerRecord(apart, skip_fusion=True)
        return
    yield replace(entry or _named(node), skip_fusion=True)


def _left_apart(node: Node) -> str | None:
    """The layer of the model behind a linear one that could have gone into it; None where there is none."""
    if op_def(node).linear is None or len(node.outputs) != 1:
        return None
    reader = _reader(node)
    while reader is not None and reader.dialect == "quant":
        reader = _reader(reader)
    if reader is None:
        return None
    if reader.provenance.inserted:
        absorbed = reader.provenance.absorbed  # of none: it divides balanced channels
        return absorbed[0] if absorbed else None
    return reader.name if op_def(reader).affine is not None else None


def _reader(node: Node) -> Node | None:
    """The only node that reads the only output of another, besides those that watch it."""
    uses = [use for use in node.graph.uses(node.output) if use.node.op != "quant.Observe"] if node.outputs else []
    return uses[0].node if len(uses) == 1 and not node.graph.is_output(node.output) else None
