"""The policy that a record amounts to: quantize the layers that it has, in its bits, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.policy.rules import LayerRule, Policy, WeightRule
from amctc.policy.rules_data import DataRule
from amctc.policy.said import Said
from amctc.policy.settings import SNQ
from amctc.records.depthwise import depthwise_chain
from amctc.records.scale_record import BITS, LayerRecord, ScaleRecord


def policy_of(record: ScaleRecord, graph: Graph) -> Policy:
    """The policy of a valid record for a float graph: with it the passes quantize what the record has factors for.

    A layer with `skip_fusion` goes into `skip_fusion_layers`.
    """
    layers = {rule.name.value: rule for layer in record.layers if layer.is_quantized for rule in _rules(layer, graph)}
    skipped = tuple(Said(layer.name, layer.place("skip_fusion")) for layer in record.layers if layer.skip_fusion)
    in_graph = tuple(name for name in skipped if name.value in graph)
    return Policy(layers=tuple(layers.values()), skip_fusion_layers=in_graph, is_recorded=True, source=record.source)


def _rules(layer: LayerRecord, graph: Graph) -> Iterator[LayerRule]:
    chain = None if layer.name in graph else depthwise_chain(graph, layer.name, layer.object_layer)
    if chain is not None:
        for node in chain.nodes:
            yield LayerRule(Said(node.name, layer.span), inputs=(_data(layer, 0),))
        return
    node = graph.node(layer.name)
    inputs = tuple(_data(layer, index) for index in op_def(node).data_inputs(node))
    weights = _weights(layer) if op_def(node).linear else None
    yield LayerRule(Said(layer.name, layer.span), inputs=inputs, shared=False, weights=weights)


def _weights(layer: LayerRecord) -> WeightRule | None:
    several = len(layer.scale_w) > 1
    if layer.cluster:
        # Without a place: what is advised of clustering in a policy does not concern a record.
        bits = Said(layer.bits_w, layer.place("num_bits_w"))
        return WeightRule(algorithm=Said(SNQ), num_bits=bits, channel_wise=Said(several))
    if layer.bits_w == BITS:
        return WeightRule(channel_wise=Said(True)) if several else None
    return WeightRule(num_bits=Said(layer.bits_w, layer.place("num_bits_w")), channel_wise=Said(several))


def _data(layer: LayerRecord, index: int) -> DataRule:
    given = layer.input(index)
    return DataRule(num_bits=Said(given.bits, given.place("num_bits_d")) if given is not None else None)
