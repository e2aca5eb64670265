"""The JSON config of quantization-aware training: which layers are trained, and how.

A layer's values are those of `override_layer_configs` under its name, else of `override_layer_types` under its type,
else of the file's general part; what the chosen one does not say has its default. The skip lists win over all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.caffe.params import params
from amctc.dialects.op import Quantizable
from amctc.dialects.table import op_table
from amctc.driver.retrain_model import TrainedLayer
from amctc.ir import Graph, Node, Value
from amctc.policy import Said
from amctc.policy.rules_qat import TrainingConfig, TrainingDataRule, TrainingRule
from amctc.policy.said import nearest
from amctc.policy.settings import ARQ_RETRAIN, ULQ
from amctc.runtime.lowering.integer import producer_of

_NEVER_NEGATIVE = frozenset({"caffe.ReLU6", "caffe.Sigmoid"})

VERSION = 1
BITS = 8


def trainable_layers(graph: Graph) -> Mapping[str, tuple[Node, Quantizable]]:
    """The layers that are trained with quantization: convolutions and inner products (seed 001, table of layers)."""
    table = op_table()
    found: dict[str, tuple[Node, Quantizable]] = {}
    for node in graph.nodes:
        row = table.get(node.op)
        one = len(node.inputs) == 1  # integer weights go with the scale of one input
        if (
            row is not None
            and row.linear is not None
            and row.quantizable is not None
            and row.quantizable.weights
            and one
        ):
            found[node.name] = (node, row.quantizable)
    return found


def training_config(graph: Graph, rule: TrainingRule, collector: Collector) -> str:
    """The text, with an entry for every layer that can be trained, in graph order.

    Names of layers that there are not (AM635) go to `collector`.
    """
    layers = trainable_layers(graph)
    check_training_names(rule, layers, collector)
    root: dict[str, object] = {"version": VERSION}
    for name, (node, quantizable) in layers.items():
        root[name] = _layer(node, quantizable, rule)
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def check_training_names(
    rule: TrainingRule, layers: Mapping[str, tuple[Node, Quantizable]], collector: Collector
) -> None:
    """Report (AM635) each layer that a policy names and that cannot be trained, or is not there."""
    for said in _named(rule):
        if said.value not in layers:
            message = f"the model has no layer `{said.value}` that can be trained with quantization"
            help = nearest(said.value, layers) or "Convolution, Deconvolution, DepthwiseConv and InnerProduct can be"
            collector.add(Diagnostic("AM635", message, span=said.span, help=help))


def _named(rule: TrainingRule) -> Iterator[Said[str]]:
    yield from rule.skip_layers
    yield from rule.quant_skip_layers
    yield from (override.name for override in rule.override_layer_configs)
    yield from (layer.name for layer in rule.layers or ())


def trained_layer(node: Node, quantizable: Quantizable, rule: TrainingRule) -> TrainedLayer | None:
    """How a rule lets a layer be trained; None where it is left out.

    In a JSON config that are the layers without an entry too. Where `fixed_min` is not said, it is true behind a
    layer that gives nothing below 0.
    """
    if _is_skipped(node, rule):
        return None
    config = _chosen(node, rule)
    if rule.layers is not None:
        entry = next((layer for layer in rule.layers if layer.name.value == node.name), None)
        if entry is None or (entry.retrain_enable is not None and not entry.retrain_enable.value):
            return None
        config = entry.config
    data = config.data if config.data is not None else TrainingDataRule()
    wise = quantizable.channel_wise
    if config.weights is not None and config.weights.channel_wise is not None:
        wise = config.weights.channel_wise.value and quantizable.channel_wise
    return TrainedLayer(
        clip_max=data.clip_max.value if data.clip_max is not None else None,
        clip_min=data.clip_min.value if data.clip_min is not None else None,
        fixed_min=data.fixed_min.value if data.fixed_min is not None else is_never_negative(node.inputs[0]),
        bits=data.num_bits.value if data.num_bits is not None else BITS,
        channel_wise=wise,
        weight_bits=BITS,
    )


def is_never_negative(value: Value) -> bool:
    """Whether the layer that gives a value, seen through those that only move elements, is one that cuts at 0."""
    node = producer_of(value)
    if node.op == "caffe.ReLU":
        return float(params(node, "relu_param").negative_slope) == 0
    return node.op in _NEVER_NEGATIVE


def _layer(node: Node, quantizable: Quantizable, rule: TrainingRule) -> dict[str, object]:
    config = _chosen(node, rule)
    data: dict[str, object] = {"algo": ULQ}
    bits, wise = BITS, quantizable.channel_wise
    if config.data is not None:
        said = {"clip_max": config.data.clip_max, "clip_min": config.data.clip_min, "fixed_min": config.data.fixed_min}
        data |= {name: value.value for name, value in said.items() if value is not None}
        bits = config.data.num_bits.value if config.data.num_bits is not None else bits
    data["num_bits"] = bits
    if config.weights is not None and config.weights.channel_wise is not None:
        wise = config.weights.channel_wise.value and quantizable.channel_wise
    return {
        "retrain_enable": not _is_skipped(node, rule),
        "retrain_data_config": data,
        "retrain_weight_config": {"algo": ARQ_RETRAIN, "channel_wise": wise, "num_bits": BITS},
    }


def _chosen(node: Node, rule: TrainingRule) -> TrainingConfig:
    for overrides, name in ((rule.override_layer_configs, node.name), (rule.override_layer_types, node.type)):
        for override in overrides:
            if override.name.value == name:
                return override.config
    return rule.common


def _is_skipped(node: Node, rule: TrainingRule) -> bool:
    named = (*rule.skip_layers, *rule.quant_skip_layers)
    typed = (*rule.skip_layer_types, *rule.quant_skip_types)
    return any(said.value == node.name for said in named) or any(said.value == node.type for said in typed)
