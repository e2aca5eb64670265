"""apply-record: take scales and offsets from a record in place of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from amctc.diagnostics import Diagnostic, Level
from amctc.dialects.traits import inner_products, weight_rows
from amctc.ir import Balance, Graph, InputQuant, Node, NodeQuant, WeightQuant
from amctc.pipeline.balancing import apply_balance, balance_obstacle, way_to
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.policy.settings import ARQ, SNQ
from amctc.quant.half_precision import scale_in
from amctc.quant.snq_settings import SnqSettings
from amctc.quant.snq_tables import LEVELS, ordered_tables
from amctc.records.check_record import layer_problems
from amctc.records.factors import unseen_state
from amctc.records.scale_record import LayerRecord, ScaleRecord


@dataclass(frozen=True)
class ApplyRecord(Pass):
    """Write the factors of a record onto the annotated layers: those of their data inputs and of their weights.

    The weights are quantized with these scales afterwards, and nothing is calibrated. Bits are those of the record;
    where it has levels for the weights, these become the tables of the layer. Channels that were balanced are balanced
    with the same factors, in the same way.
    Every annotated layer must be in the record, with all its factors; only the hidden state of a recurrent layer
    that no output shows may be missing, and takes the whole range that it can have.
    """

    name: ClassVar[str] = "apply-record"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("quantize-weights", "insert-quant")
    before: ClassVar[tuple[str, ...]] = ("quantize-bias",)
    needs_record: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        record = context.need_record()
        takers = {name: node.name for node in graph.nodes for name in node.provenance.absorbed}
        for entry in record.layers:
            context.collector.extend(_unused(entry, graph, takers))
        changed = False
        for node in graph.nodes:
            if node.quant is None:
                continue
            layer = record.by_name.get(node.name)
            if layer is None:
                context.collector.add(_without_factors(node, record))
                continue
            problems = [problem for problem in layer_problems(layer, node) if problem.level is Level.ERROR]
            context.collector.extend(problems)
            if not problems:
                self._annotate(node, node.quant, layer)
                self._balance(node, layer, context)
                changed = True
        return changed

    def _annotate(self, node: Node, quant: NodeQuant, layer: LayerRecord) -> None:
        inputs = tuple(_operand(operand, layer) for operand in quant.inputs)
        state = _operand(quant.state, layer) if quant.state is not None else None
        weight = _weight(node, quant.weight, layer) if quant.weight is not None else None
        node.quant = NodeQuant(inputs, weight, quant.rule, state, precision_mode=layer.precision_mode)
        if state is not None and state.scale is None and (found := unseen_state(node)) is not None:
            node.quant = node.quant.with_factors(state.index, *found)
        told = [
            f"{'hidden state' if operand is node.quant.state else f'input {operand.index}'}: "
            f"scale {operand.scale:.6g}, offset {operand.offset}"
            for operand in node.quant.operands
        ]
        place = f"record ({layer.span.source.name}:{layer.span.line})" if layer.span is not None else None
        node.record(self.name, "; ".join(told), place)

    def _balance(self, node: Node, layer: LayerRecord, context: Context) -> None:
        if not layer.balance:
            return
        reason = balance_obstacle(node, context)
        way = way_to(node, context) if layer.balance_folded and reason is None else None
        reason = way if isinstance(way, str) else reason
        if reason is not None:
            message = f"layer `{node.name}`: its balance factors cannot be applied: {reason}"
            place = layer.place("tensor_balance_factor", 0)
            context.collector.add(Diagnostic("AM279", message, span=place, help="take `tensor_balance_factor` out"))
            return
        apply_balance(node, Balance(layer.balance, layer.balance_folded), self.name, "balance of the record", context)


def _operand(operand: InputQuant, layer: LayerRecord) -> InputQuant:
    given = layer.input(operand.index)
    if given is None:
        return operand
    settings = replace(operand.settings, bits=given.bits)
    scale = scale_in(layer.precision_mode, given.scale) if given.scale is not None else None
    return InputQuant(operand.index, settings, scale, given.offset)


def _weight(node: Node, weight: WeightQuant, layer: LayerRecord) -> WeightQuant:
    scales = np.array(layer.scale_w, np.float32)
    products = inner_products(node)
    wise = len(scales) > len(products)
    counts = [len(weight_rows(node, node.weights[product.weight])) if wise else 1 for product in products]
    parts = np.split(scales, np.cumsum(counts)[:-1])
    by_role = {product.weight: part for product, part in zip(products, parts, strict=True)}
    given = replace(weight, bits=layer.bits_w, channel_wise=wise, scales=by_role)
    if layer.cluster:
        tables = ordered_tables(np.array(layer.cluster, np.int8).reshape(-1, LEVELS))
        clustering = weight.clustering or SnqSettings()
        return replace(given, algorithm=SNQ, clustering=clustering, tables={products[0].weight: tables})
    if weight.algorithm == SNQ:
        return replace(given, algorithm=ARQ, clustering=None, tables={})
    return given


def _without_factors(node: Node, record: ScaleRecord) -> Diagnostic:
    message = f"layer `{node.name}`: the record has no `scale_d` and `offset_d` for it"
    help = "run the calibration model for all its batches first, or leave the layer float"
    return Diagnostic("AM619", message, file=record.file, help=help)


def _unused(layer: LayerRecord, graph: Graph, takers: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """What is told of an entry that quantizes nothing."""
    if not layer.is_quantized:
        return ()
    if layer.name in graph:
        if graph.node(layer.name).quant is not None:
            return ()
        message = f"layer `{layer.name}` has factors in the record, and the policy leaves it float"
        help = "look whether record and policy belong together"
        return (Diagnostic("AM625", message, Level.WARNING, layer.span, help=help),)
    taker = takers.get(layer.name)
    if taker is None:
        message = f"the model has no layer `{layer.name}` when the factors are applied"
        return (Diagnostic("AM623", message, span=layer.span, help="take its entry out of the record"),)
    message = f"layer `{layer.name}` has become part of `{taker}`, so its factors cannot be applied"
    help = f"take its entry out, or keep the layers apart: `skip_fusion: true` in the entry of `{layer.name}`"
    return (Diagnostic("AM623", message, span=layer.span, help=help),)
