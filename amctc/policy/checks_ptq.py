"""Checks of a whole policy of post-training quantization, before a model is looked at."""

from __future__ import annotations

from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.dialects.table import op_table
from amctc.policy.checks import (
    check_data,
    check_dump_name,
    check_fit,
    check_offset_of_weights,
    check_repeats,
    check_weights,
)
from amctc.policy.checks_types import beyond_type, channel_wise_of_type
from amctc.policy.flavours import CAFFE, GE
from amctc.policy.layer_types import TYPE_LIMITS
from amctc.policy.limits import FLAVOUR_LIMITS, check_range
from amctc.policy.rules import Override, Policy, TensorRule
from amctc.policy.selectors import check_selectors


def check_ptq(policy: Policy, collector: Collector) -> None:
    """Report all that is wrong with the values of a .cfg policy."""
    limits = FLAVOUR_LIMITS[policy.flavour.name]
    check_range("version", policy.version, collector, limits)
    check_range("batch_num", policy.batch_num, collector, limits)
    if policy.bn_update_config is not None:
        bn = policy.bn_update_config
        check_range("bn_update_config.bn_update_iterations", bn.bn_update_iterations, collector)
        check_range("bn_update_config.bn_moving_average_fraction", bn.bn_moving_average_fraction, collector)
    check_dump_name(policy.bn_update_config, collector)
    overrides = (*policy.override_layer_types, *policy.override_layer_configs)
    for config in (policy.common_config, *(override.config for override in overrides)):
        if config is None:
            continue
        if config.ifmr is not None:
            check_data(config.ifmr, limits, collector)
        if config.weights is not None:
            check_weights(config.weights, limits, collector)
        if config.balancer is not None:
            strength = config.balancer.migration_strength
            check_range("dmq_balancer.migration_strength", strength, collector, limits)
        check_offset_of_weights(config.weights, config.weight_compress_only, collector)
    for override in policy.override_layer_types:
        _check_type(policy, override, collector)
    for tensor in policy.tensor_quantize:
        check_data(tensor.data, limits, collector)
    check_tensors(policy.tensor_quantize, collector)
    check_lists(policy, collector)


def check_lists(policy: Policy, collector: Collector) -> None:
    """Report what is twice in a list of the policy (AM211), and patterns that are wrong (AM234)."""
    for name in ("skip_layers", "skip_layer_types", "skip_fusion_layers"):
        check_repeats(getattr(policy, name), f"`{name}`", collector)
        check_selectors(getattr(policy, name), f"`{name}`", collector)
    for name in ("override_layer_types", "override_layer_configs"):
        names = [override.name for override in getattr(policy, name)]
        check_repeats(names, f"`{name}`", collector)
        check_selectors(names, f"`{name}`", collector)
    for entry in policy.passes:
        check_repeats([key for key, _ in entry.options], f"the options of `{entry.name.value}`", collector)


def check_tensors(tensors: tuple[TensorRule, ...], collector: Collector) -> None:
    """Report (AM211) an input of a layer that is there twice."""
    first: dict[tuple[str, int], TensorRule] = {}
    for tensor in tensors:
        earlier = first.setdefault((tensor.layer_name.value, tensor.input_index.value), tensor)
        if earlier is tensor:
            continue
        message = f"input {tensor.input_index.value} of `{tensor.layer_name.value}` is in `tensor_quantize` twice"
        span = earlier.layer_name.span
        related = (Label(span, "the first is here"),) if span is not None else ()
        collector.add(
            Diagnostic("AM211", message, span=tensor.layer_name.span, related=related, help="take one of them out")
        )


def _check_type(policy: Policy, override: Override, collector: Collector) -> None:
    kind = override.name.value
    if policy.flavour in (CAFFE, GE):
        row = op_table().get(f"{policy.flavour.name}.{kind}")
        if row is not None:
            check_fit(override.config.weights, row, collector)
    if policy.flavour == CAFFE:
        return
    limits = TYPE_LIMITS.get(policy.flavour.name, {}).get(kind)
    if limits is not None:
        data, weights = override.config.ifmr, override.config.weights
        collector.extend(channel_wise_of_type(limits, weights))
        collector.extend(beyond_type(limits, (data,) if data is not None else (), weights))
