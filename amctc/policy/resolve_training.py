"""What each layer of a graph gets from a policy of quantization-aware training.

A layer's config is that of `override_layer_configs` under its name, else of `override_layer_types` under its type, else
of the file's general part, each as a whole; in a JSON layer config it is the layer's entry. What the config does not
say has its default. The skip lists win over all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import Quantizable
from amctc.dialects.retrain import TrainedWeights
from amctc.dialects.table import op_def, ops_of
from amctc.ir import Graph, Node
from amctc.policy.layer_types import PACKED_BITS, has_torch_types, limits_of, types_of, usual_channel_wise
from amctc.policy.rules import Policy
from amctc.policy.rules_qat import TrainingConfig, TrainingDataRule, TrainingLayer, TrainingRule, TrainingWeightRule
from amctc.policy.said import Said, nearest
from amctc.policy.settings import ARQ_RETRAIN, BATCH_NUM, BITS_OF_TYPE, ULQ_RETRAIN
from amctc.source import Span

BITS = 8
"""Of data and of weights, where nothing is said."""

_FEWEST_BITS = 8


@dataclass(frozen=True)
class TrainedData:
    """How the data inputs of a layer are quantized in training.

    `clip_max` and `clip_min` are both said, or both found by IFMR. Where `fixed_min` is None, the graph decides: true
    behind a layer that gives nothing below 0.
    """

    clip_max: float | None = None
    clip_min: float | None = None
    fixed_min: bool | None = None
    bits: int = BITS


@dataclass(frozen=True)
class TrainedLayer:
    """How one layer is trained; `weights` is None for a layer without weights."""

    data: TrainedData
    weights: TrainedWeights | None


@dataclass(frozen=True)
class Trainable:
    """A layer that can be trained with quantization."""

    node: Node
    quantizable: Quantizable


@dataclass(frozen=True)
class ResolvedTraining:
    """The layers of a graph that are trained with quantization, by name in graph order.

    `off` are the others that could be, and how they would be. `batch_num` batches decide the clips that are not said.
    """

    layers: Mapping[str, TrainedLayer]
    off: Mapping[str, TrainedLayer]
    batch_num: int = BATCH_NUM


@dataclass(frozen=True)
class _Found:
    """The config of a layer, whether it is on, and whether it is said for this very layer."""

    config: TrainingConfig = field(default_factory=TrainingConfig)
    enabled: bool = True
    own: bool = False


def trainable_layers(graph: Graph) -> Mapping[str, Trainable]:
    """The layers that can be trained (seed 001: layers with weights, and data of layers without), in graph order.

    Layers with weights are convolutions and inner products of one input: integer weights go with the scale of one.
    """
    found: dict[str, Trainable] = {}
    for node in graph.nodes:
        row = op_def(node)
        able = row.quantizable
        if able is not None and ((row.linear is not None and len(node.inputs) == 1) or not able.weights):
            found[node.name] = Trainable(node, able)
    return found


def usual_training(able: Trainable) -> TrainedLayer:
    """How a layer is trained where no policy says it."""
    return TrainedLayer(TrainedData(), _weights(able, None))


def resolve_training(
    policy: Policy, graph: Graph, collector: Collector, layers: Mapping[str, Trainable] | None = None
) -> ResolvedTraining:
    """What the layers get. Reports what a policy says of layers and types that there are not, or that cannot have it.

    `layers` are those that can be trained, where these are not all of `trainable_layers`. Reported are AM635 and
    AM222 for names, AM227 for a scale for each channel, AM290 for what is not built.
    """
    rule = policy.training if policy.training is not None else TrainingRule()
    layers = trainable_layers(graph) if layers is None else layers
    _check_names(rule, layers, graph, collector)
    _check_built(policy, rule, graph, collector)
    found = {name: _found(able, rule) for name, able in layers.items()}
    for name, of_layer in found.items():
        _check_channel_wise(layers[name], of_layer, collector)
    on, off = (
        {name: _trained(layers[name], each.config) for name, each in found.items() if each.enabled is enabled}
        for enabled in (True, False)
    )
    return ResolvedTraining(on, off, policy.batch_num.value if policy.batch_num is not None else BATCH_NUM)


def _found(able: Trainable, rule: TrainingRule) -> _Found:
    node = able.node
    if rule.layers is not None:
        return _of_entry(node, rule.layers)
    kinds = types_of(node, op_def(node))
    by_name = _override(rule, node.name)
    by_type = next((o.config for o in rule.override_layer_types if o.name.value in kinds), None)
    named = (*rule.skip_layers, *rule.quant_skip_layers)
    typed = (*rule.skip_layer_types, *rule.quant_skip_types)
    skipped = any(said.value == node.name for said in named) or any(said.value in kinds for said in typed)
    said = by_name if by_name is not None else by_type
    # Layers without weights are trained where a policy asks for it, as in post-training quantization by default.
    enabled = not skipped and (able.quantizable.weights or said is not None)
    return _Found(said if said is not None else rule.common, enabled, by_name is not None)


def _of_entry(node: Node, layers: tuple[TrainingLayer, ...]) -> _Found:
    """The layers of a JSON layer config that have no entry are left out."""
    entry = next((layer for layer in layers if layer.name.value == node.name), None)
    if entry is None:
        return _Found(enabled=False)
    return _Found(entry.config, entry.retrain_enable is None or entry.retrain_enable.value, own=True)


def _override(rule: TrainingRule, name: str) -> TrainingConfig | None:
    return next((o.config for o in rule.override_layer_configs if o.name.value == name), None)


def _trained(able: Trainable, config: TrainingConfig) -> TrainedLayer:
    data = config.data if config.data is not None else TrainingDataRule()
    trained = TrainedData(
        data.clip_max.value if data.clip_max is not None else None,
        data.clip_min.value if data.clip_min is not None else None,
        data.fixed_min.value if data.fixed_min is not None else None,
        _bits(data.num_bits, data.dst_type),
    )
    return TrainedLayer(trained, _weights(able, config.weights))


def _weights(able: Trainable, rule: TrainingWeightRule | None) -> TrainedWeights | None:
    if not able.quantizable.weights:
        return None
    said = rule if rule is not None else TrainingWeightRule()
    row, bits = op_def(able.node), _bits(said.num_bits, said.dst_type)
    wise = said.channel_wise.value if said.channel_wise is not None else usual_channel_wise(able.node, row)
    limits = limits_of(able.node, row)
    if limits is not None and not limits.packed and bits in PACKED_BITS:
        bits = BITS  # as AMCT takes it: two weights of neighbouring channels share a byte, and these have none
    learned = said.algorithm is not None and said.algorithm.value == ULQ_RETRAIN
    return TrainedWeights(wise and able.quantizable.channel_wise, bits, learned)


def _bits(number: Said[int] | None, type: Said[str] | None) -> int:
    if number is not None:
        return number.value
    return BITS if type is None else BITS_OF_TYPE[type.value]


def _check_names(rule: TrainingRule, layers: Mapping[str, Trainable], graph: Graph, collector: Collector) -> None:
    for said in _named(rule):
        if said.value not in layers:
            message = f"the model has no layer `{said.value}` that can be trained with quantization"
            help = nearest(said.value, layers) or "`amctc ops` lists the types that can be quantized"
            collector.add(Diagnostic("AM635", message, span=said.span, help=help))
    known = _known_types(graph)
    for said in _typed(rule):
        if said.value not in known:
            message = f"there is no layer type `{said.value}` that can be trained with quantization"
            help = nearest(said.value, known) or "`amctc ops` lists the types that can be quantized"
            collector.add(Diagnostic("AM222", message, span=said.span, help=help))


def _known_types(graph: Graph) -> Mapping[str, None]:
    """The types that can be quantized in the graph's dialects, and all names that its layers have for theirs."""
    dialects = {node.dialect for node in graph.nodes}
    rows = (row for row in ops_of(dialects).values() if row.quantizable is not None)
    own = {name: None for able in trainable_layers(graph).values() for name in types_of(able.node, op_def(able.node))}
    return {**dict.fromkeys(row.type for row in rows), **own}


def _named(rule: TrainingRule) -> Iterator[Said[str]]:
    yield from rule.skip_layers
    yield from rule.quant_skip_layers
    yield from (override.name for override in rule.override_layer_configs)
    yield from (layer.name for layer in rule.layers or ())


def _typed(rule: TrainingRule) -> Iterator[Said[str]]:
    yield from rule.skip_layer_types
    yield from rule.quant_skip_types
    yield from (override.name for override in rule.override_layer_types)


def _check_channel_wise(able: Trainable, found: _Found, collector: Collector) -> None:
    weights = found.config.weights
    wise = weights.channel_wise if weights is not None else None
    if not found.own or wise is None or not wise.value or able.quantizable.channel_wise:
        return
    kind = "one scale for all its weights" if able.quantizable.weights else "no weights"
    message = f"layer `{able.node.name}` ({able.node.type}) has {kind}, not one scale for each channel"
    collector.add(Diagnostic("AM227", message, span=wise.span, help="write `channel_wise: false`"))


def _check_built(policy: Policy, rule: TrainingRule, graph: Graph, collector: Collector) -> None:
    of_torch = has_torch_types(frozenset(node.dialect for node in graph.nodes))
    configs = [rule.common, *(o.config for o in (*rule.override_layer_types, *rule.override_layer_configs))]
    configs += [
        layer.config for layer in rule.layers or () if layer.retrain_enable is None or layer.retrain_enable.value
    ]
    mode = policy.fakequant_precision_mode
    if mode is not None and mode.value != "DEFAULT":
        collector.add(_not_built("`fakequant_precision_mode` is", mode.span, "take it out"))
    for config in configs:
        weights, data, prune = config.weights, config.data, config.prune
        if prune is not None:
            collector.add(_not_built("pruning is", prune.span, "take it out"))
        algorithm = weights.algorithm if weights is not None else None
        if algorithm is not None and algorithm.value != ARQ_RETRAIN and not of_torch:
            named = f"`{algorithm.value}` of a Caffe network is"
            collector.add(_not_built(named, algorithm.span, f"use `{ARQ_RETRAIN}`"))
        type = data.dst_type if data is not None else None
        if type is not None and BITS_OF_TYPE[type.value] < _FEWEST_BITS:
            collector.add(_not_built(f"data of type {type.value} are", type.span, "take INT8 or INT16"))


def _not_built(what: str, span: Span | None, help: str) -> Diagnostic:
    message = f"{what} accepted by the language, but not built in this version"
    return Diagnostic("AM290", message, span=span, help=help)
