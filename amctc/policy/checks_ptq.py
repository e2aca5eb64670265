"""Checks of a whole policy of post-training quantization, before a model is looked at."""

from __future__ import annotations

from collections.abc import Iterator

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
from amctc.policy.flavours import CAFFE
from amctc.policy.layer_types import TYPE_LIMITS, TypeLimits
from amctc.policy.limits import FLAVOUR_LIMITS, check_range
from amctc.policy.rules import CalibrationRule, Override, Policy, TensorRule
from amctc.policy.selectors import check_selectors
from amctc.policy.settings import ADA


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
    if policy.flavour == CAFFE:
        row = op_table().get(f"caffe.{kind}")
        if row is not None:
            check_fit(override.config.weights, row, collector)
        return
    limits = TYPE_LIMITS.get(policy.flavour.name, {}).get(kind)
    if limits is not None:
        collector.extend(_beyond_type(kind, limits, override.config))


def _beyond_type(kind: str, limits: TypeLimits, config: CalibrationRule) -> Iterator[Diagnostic]:
    data, weights = config.ifmr, config.weights
    if weights is not None and weights.algorithm is not None:
        if weights.algorithm.value == ADA and not limits.learned:
            message = f"the weights of layers of type `{kind}` cannot be quantized by `{ADA}`"
            yield Diagnostic("AM226", message, span=weights.algorithm.span, help="use `arq_quantize`")
        wise = weights.channel_wise
        if weights.algorithm.value != ADA and wise is not None and wise.value and not limits.channel_wise:
            message = f"layers of type `{kind}` have one scale for all their weights, not one for each channel"
            yield Diagnostic("AM227", message, span=wise.span, help="write `channel_wise: false`")
        bits = weights.num_bits
        if bits is not None and bits.value in (6, 7) and not limits.narrow:
            message = f"the weights of layers of type `{kind}` cannot have {bits.value} bits"
            yield Diagnostic("AM226", message, span=bits.span, help="only those of `Conv2d` can; take 8")
    if data is not None and data.num_bits is not None and data.num_bits.value == 16 and not limits.wide:
        message = f"the data of layers of type `{kind}` cannot have 16 bits"
        yield Diagnostic("AM244", message, span=data.num_bits.span, help="write `dst_type: INT8`")
    if data is not None and data.asymmetric is not None and data.asymmetric.value and not limits.offset:
        message = f"the data of layers of type `{kind}` cannot have an offset"
        yield Diagnostic("AM244", message, span=data.asymmetric.span, help="write `asymmetric: false`")
