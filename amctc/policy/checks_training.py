"""Checks of policies of quantization-aware training and of KV-cache quantization."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.diagnostics import Collector, Diagnostic, Level
from amctc.policy.checks import check_data, check_repeats
from amctc.policy.layer_types import ONE_SCALE_IN_TRAINING
from amctc.policy.limits import FLAVOUR_LIMITS, Limits, check_range
from amctc.policy.rules import Policy
from amctc.policy.rules_kv import KvCacheRule
from amctc.policy.rules_qat import PruneRule, TrainingConfig, TrainingRule
from amctc.policy.said import Said
from amctc.policy.settings import (
    ARQ_RETRAIN,
    BITS_OF_TYPE,
    FILTER_PRUNE,
    FILTER_PRUNE_ALGORITHM,
    SELECTIVE_PRUNE_ALGORITHM,
)
from amctc.source import SourceFile

_PAIRS = frozenset({("INT4", "INT4"), ("INT8", "INT8"), ("INT16", "INT8"), ("INT8", "INT4")})
"""Types of data and weights that go together (AMCT's capacity table)."""


def check_training(policy: Policy, rule: TrainingRule, collector: Collector) -> None:
    """Report all that is wrong with the values of a .cfg policy of quantization-aware training."""
    limits = FLAVOUR_LIMITS[policy.flavour.name]
    check_range("batch_num", policy.batch_num, collector, limits)
    overrides = (*rule.override_layer_types, *rule.override_layer_configs)
    for config in (rule.common, *(override.config for override in overrides)):
        _check_config(config, limits, collector)
    for override in rule.override_layer_types:
        wise = override.config.weights.channel_wise if override.config.weights is not None else None
        kind = override.name.value
        if wise is not None and wise.value and kind in ONE_SCALE_IN_TRAINING:
            message = f"layers of type `{kind}` have one scale for all their weights, not one for each channel"
            collector.add(Diagnostic("AM227", message, span=wise.span, help="write `channel_wise: false`"))
    for name in (
        "skip_layers",
        "skip_layer_types",
        "quant_skip_layers",
        "quant_skip_types",
        "regular_prune_skip_layers",
        "regular_prune_skip_types",
    ):
        # As in the original, where it has no effect; in an override list it is a mistake.
        check_repeats(getattr(rule, name), f"`{name}`", collector, Level.WARNING)
    for name in ("override_layer_types", "override_layer_configs"):
        check_repeats([override.name for override in getattr(rule, name)], f"`{name}`", collector)


def check_pair(config: TrainingConfig, collector: Collector) -> None:
    """Report (AM242) a pair of data and weight types that do not go together; INT8 where nothing is said."""
    data = config.data.dst_type if config.data is not None else None
    weights = config.weights.dst_type if config.weights is not None else None
    pair = (data.value if data is not None else "INT8", weights.value if weights is not None else "INT8")
    if pair in _PAIRS or not BITS_OF_TYPE.keys() >= set(pair):
        return
    span = weights.span if weights is not None else data.span if data is not None else None
    message = f"data of type {pair[0]} and weights of type {pair[1]} do not go together"
    help = "INT8 data go with INT8 or INT4 weights, INT16 data with INT8 weights, INT4 data with INT4 weights"
    collector.add(Diagnostic("AM242", message, span=span, help=help))


def check_kv_cache(policy: Policy, rule: KvCacheRule, collector: Collector) -> None:
    """Report all that is wrong with the values of a .cfg policy of KV-cache quantization."""
    limits = FLAVOUR_LIMITS[policy.flavour.name]
    check_range("batch_num", policy.batch_num, collector, limits)
    for data in (rule.common, *(override.data for override in rule.overrides)):
        if data is not None:
            check_data(data, limits, collector)
    check_repeats(rule.quant_layers, "`quant_layers`", collector)
    check_repeats([override.name for override in rule.overrides], "`override_layers_configs`", collector)
    check_named_layers(rule, policy.source, collector)


def check_named_layers(rule: KvCacheRule, source: SourceFile | None, collector: Collector) -> None:
    """Report (AM243) a KV-cache policy that names no layer and has no other mistakes."""
    if rule.quant_layers or rule.overrides or rule.layers or collector.has_errors:
        return
    file = source.name if source is not None and rule.span is None else None
    help = "name layers in `quant_layers` of `kv_cache_quant_config`" if rule.layers is None else None
    message = "this policy names no layer whose output is to be quantized"
    collector.add(Diagnostic("AM243", message, span=rule.span, file=file, help=help))


def _check_config(config: TrainingConfig, limits: Mapping[str, Limits], collector: Collector) -> None:
    numbers: list[tuple[str, Said[int] | Said[float] | None]] = []
    if config.data is not None:
        numbers += [
            ("ulq_quantize.clip_max", config.data.clip_max),
            ("ulq_quantize.clip_min", config.data.clip_min),
            ("ulq_quantize.num_bits", config.data.num_bits),
        ]
    if config.weights is not None:
        numbers.append((f"{ARQ_RETRAIN}.num_bits", config.weights.num_bits))
    if config.prune is not None:
        numbers.append((f"{FILTER_PRUNE_ALGORITHM}.prune_ratio", config.prune.prune_ratio))
        _check_pruner(config.prune, collector)
    for key, said in numbers:
        check_range(key, said, collector, limits)
    check_pair(config, collector)


def _check_pruner(rule: PruneRule, collector: Collector) -> None:
    if rule.algorithm is not None or rule.prune_type is None:
        return
    filters = rule.prune_type.value == FILTER_PRUNE
    name, wanted = ("filter_pruner", FILTER_PRUNE_ALGORITHM) if filters else (
        "n_out_of_m_pruner", SELECTIVE_PRUNE_ALGORITHM,
    )  # fmt: skip
    collector.add(Diagnostic("AM204", f"`{name}` needs a field `{wanted}`", span=rule.span))
