"""What a model under quantization-aware training amounts to: a float model, and factors to quantize it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.retrain import (
    DATA_OP,
    WEIGHT_PARAMETER,
    TrainedWeights,
    data_bits,
    data_grid,
    data_quantizers,
    is_trained,
    trained_weights,
    weight_scale,
)
from amctc.dialects.table import op_def
from amctc.dialects.traits import affine_coefficients, linear_trait
from amctc.driver.passes import build_pipeline
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.pipeline.context import Context
from amctc.quant.grid import check_scale, grid_limits, guard_scale
from amctc.quant.snq_codes import CODE_BITS
from amctc.records.scale_offset import input_record
from amctc.records.scale_record import InputRecord, LayerRecord

_FOLD = "fuse-batchnorm"


@dataclass(frozen=True)
class TrainedFactors:
    """The entries of a record, in the order of the graph, and the layers whose clips are not set."""

    entries: tuple[LayerRecord, ...]
    unset: tuple[str, ...]


def trained_factors(graph: Graph) -> TrainedFactors:
    """The factors of every layer that training quantizes, as they are with the graph's weights and clips.

    Scale and offset of the data are those of the clips. A layer's `scale_w` is that of the weights as ARQ sees them
    in training, by output channel times |a| of the BatchNorm and Scale layers y = a*x + b that are folded into it
    when the model is saved: so the integers stay those that it was trained with. Source: AMCT's retraining.
    Raises `DiagnosticError` (AM410, AM412) for weights or clips that no scale can be chosen for.
    """
    apart = plain_model(graph)
    folded = plain_model(graph)
    build_pipeline(_FOLD).run(folded, Context())
    entries: list[LayerRecord] = []
    unset: list[str] = []
    for node in graph.nodes:
        if not is_trained(node) or node.name not in folded:
            continue
        entry = _entry(node, folded.node(node.name), apart)
        if entry is None:
            unset.append(node.name)
        else:
            entries.append(entry)
    return TrainedFactors(tuple(entries), tuple(unset))


def trained_layers(graph: Graph) -> tuple[Node, ...]:
    """The layers that training quantizes."""
    return tuple(node for node in graph.nodes if is_trained(node))


def plain_model(graph: Graph) -> Graph:
    """The float model: without RetrainData, and without losses, scores and what reads them; arrays are shared.

    Two layers that have one array in common have it in common here too.
    """
    made = Graph(graph.name)
    made.attrs = dict(graph.attrs)
    values: dict[Value, Value] = {}
    arrays: dict[tuple[int, tuple[int, ...]], Array] = {}
    for node in graph.nodes:
        if op_def(node).training_only or any(value not in values for value in node.inputs):
            continue
        if node.op == DATA_OP:
            values[node.output] = values[node.inputs[0]]
            continue
        copy = made.add(
            node.name,
            node.op,
            [values[value] for value in node.inputs],
            [value.blob for value in node.outputs],
            attrs={name: value for name, value in node.attrs.items() if name != WEIGHT_PARAMETER},
            weights={role: arrays.setdefault(_place(array), array) for role, array in node.weights.items()},
            provenance=node.provenance,
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.shape = old.shape
            values[old] = new
    unread = [value for node in made.nodes for value in node.outputs if not made.uses(value)]
    computed = [value for value in unread if value.producer.inputs]
    made.outputs = computed or unread
    return made


def _place(array: Array) -> tuple[int, tuple[int, ...]]:
    return array.__array_interface__["data"][0], array.shape


def _entry(node: Node, folded: Node, apart: Graph) -> LayerRecord | None:
    sources = data_quantizers(node)
    inputs = [_input(node, index, source) for index, source in sources.items()]
    found = tuple(given for given in inputs if given is not None)
    if not found or len(found) < len(inputs):
        return None
    entry = LayerRecord(node.name, found)
    if op_def(node).linear is None:
        return entry
    how = trained_weights(node) or TrainedWeights(channel_wise=False, bits=8)
    scales = _weight_scales(node, folded, apart, how)
    return entry.with_weights(scales, how.bits, _levels(how.bits, scales.size))


def _levels(bits: int, scales: int) -> NDArray[np.int8] | None:
    """The grid as a table for each scale: weights of 4 bits are codes of 16 levels on disk, here with equal steps."""
    if bits != CODE_BITS:
        return None
    low, high = grid_limits(bits)
    return np.tile(np.arange(low, high + 1, dtype=np.int8), (scales, 1))


def _input(node: Node, index: int, source: Node) -> InputRecord | None:
    grid = data_grid(source)
    if grid is None:
        return None
    check_scale(grid.scale, node.name)
    shape = source.inputs[0].shape
    return input_record(index, float(np.float32(grid.scale)), int(grid.offset), data_bits(source), shape)


def _weight_scales(node: Node, folded: Node, apart: Graph, how: TrainedWeights) -> NDArray[np.float32]:
    trait = linear_trait(node)
    absorbed = [apart.node(name) for name in folded.provenance.absorbed if name in apart]
    row = op_def(node)
    if absorbed and (row.quantizable is None or not row.quantizable.channel_wise):
        return weight_scale(node, how, folded.weights[trait.weight])
    scale = weight_scale(node, how, node.weights[trait.weight])
    if absorbed:
        scale = guard_scale((scale * _slopes(absorbed, trait.out_channels(node))).astype(np.float32))
    check_scale(scale, node.name)
    return scale


def _slopes(absorbed: list[Node], channels: int) -> NDArray[np.float64]:
    """|a| of each channel, of layers one after the other."""
    slopes = np.ones(channels, np.float64)
    for node in absorbed:
        found = affine_coefficients(node, channels)
        if isinstance(found, str):
            raise ValueError(found)
        slopes = slopes * np.abs(found[0])
    return slopes


def differing(trained: TrainedFactors, record: dict[str, LayerRecord]) -> Iterator[str]:
    """The layers whose factors in a record are not those of the model; a record that lacks a layer does not differ."""
    for entry in trained.entries:
        said = record.get(entry.name)
        if said is not None and not _same(entry, said):
            yield entry.name


def _same(entry: LayerRecord, said: LayerRecord) -> bool:
    mine, theirs = ([(g.index, g.scale, g.offset, g.bits) for g in each.inputs] for each in (entry, said))
    return sorted(mine) == sorted(theirs) and entry.scale_w == tuple(said.scale_w)


def lacks(said: LayerRecord, wanted: LayerRecord | Node) -> bool:
    """Whether an entry of a record has not all factors of the data that a layer, or another entry of it, has."""
    indices = [g.index for g in wanted.inputs] if isinstance(wanted, LayerRecord) else list(data_quantizers(wanted))
    given = [said.input(index) for index in indices]
    return any(each is None or each.scale is None or each.offset is None for each in given)


def with_missing(said: LayerRecord | None, entry: LayerRecord) -> LayerRecord:
    """An entry of a record with what it lacks of the data and of the weights."""
    if said is None:
        return entry
    joined = replace(said, inputs=entry.inputs) if lacks(said, entry) else said
    if joined.scale_w or not entry.scale_w:
        return joined
    return replace(joined, scale_w=entry.scale_w, offset_w=entry.offset_w, bits_w=entry.bits_w, cluster=entry.cluster)
