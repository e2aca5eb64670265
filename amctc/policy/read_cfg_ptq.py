"""A .cfg of post-training quantization, of any flavour, to a `Policy`."""

from __future__ import annotations

from dataclasses import replace

from amctc.policy.flavours import CAFFE, Flavour
from amctc.policy.read_cfg_fields import chosen, data_rule, inner, place, said, strings
from amctc.policy.rules import (
    BalancerRule,
    BnUpdateRule,
    CalibrationRule,
    DataRule,
    Override,
    PassRule,
    Policy,
    TensorRule,
    WeightRule,
)
from amctc.policy.said import Said
from amctc.policy.settings import ADA, ARQ, IFMR_NAME, SNQ
from amctc.text.checked import CheckedMessage


def read_ptq(root: CheckedMessage, flavour: Flavour) -> Policy:
    """The policy of a message that has been checked against the schema of the flavour."""
    common = _calibration(root, "common_config")
    by_type = _overrides(root, "override_layer_types", "layer_type")
    by_name = _overrides(root, "override_layer_configs", "layer_name")
    if flavour != CAFFE and common is not None:
        by_type = tuple(_with_common_offset(override, common) for override in by_type)
        by_name = tuple(_with_common_offset(override, common) for override in by_name)
    return Policy(
        batch_num=said(root, "batch_num", int),
        activation_offset=said(root, "activation_offset", bool),
        do_fusion=said(root, "do_fusion", bool),
        skip_fusion_layers=strings(root, "skip_fusion_layers"),
        skip_layers=strings(root, "skip_layers"),
        skip_layer_types=strings(root, "skip_layer_types"),
        common_config=common,
        override_layer_types=by_type,
        override_layer_configs=by_name,
        update_bn=said(root, "update_bn", bool),
        bn_update_config=_bn_update(root),
        passes=_passes(root),
        joint_quant=said(root, "joint_quant", bool),
        enable_auto_nuq=said(root, "enable_auto_nuq", bool),
        fakequant_precision_mode=said(root, "fakequant_precision_mode", str),
        tensor_quantize=_tensors(root),
        version=said(root, "version", int),
    )


def _with_common_offset(override: Override, common: CalibrationRule) -> Override:
    """As the original resolves it: `asymmetric`, alone of all, comes from `common_config` if the algorithm is the same.

    What an override does not say comes from the built-in defaults otherwise.
    """
    ours, general = override.config.ifmr or DataRule(), common.ifmr
    if general is None or ours.with_offset is not None or _algorithm(ours) != _algorithm(general):
        return override
    if general.with_offset is None:
        return override
    return replace(override, config=replace(override.config, ifmr=replace(ours, with_offset=general.with_offset)))


def _algorithm(rule: DataRule) -> str:
    return rule.algorithm.value if rule.algorithm is not None else IFMR_NAME


def _calibration(message: CheckedMessage, name: str) -> CalibrationRule | None:
    config = inner(message, name)
    if config is None:
        return None
    return CalibrationRule(
        data_rule(config),
        _weights(config),
        _balancer(config),
        said(config, "weight_compress_only", bool),
        place(message, name),
    )


def _weights(config: CheckedMessage) -> WeightRule | None:
    choice = chosen(config, ARQ, SNQ, ADA)
    if choice is None:
        return None
    name, message = choice
    span = place(config, name)
    algorithm, wise = Said(name, span), said(message, "channel_wise", bool)
    bits = said(message, "num_bits", int) or said(message, "quant_bits", int)
    asymmetric = said(message, "asymmetric", bool)
    if name == ARQ:
        return WeightRule(algorithm, wise, bits, asymmetric=asymmetric, span=span)
    return WeightRule(
        algorithm,
        wise,
        bits,
        max_iteration=said(message, "max_iteration", int),
        min_distance=said(message, "min_distance", float),
        init_algo=said(message, "init_algo", str),
        num_iteration=said(message, "num_iteration", int),
        reg_param=said(message, "reg_param", float),
        beta_range_start=said(message, "beta_range_start", float),
        beta_range_end=said(message, "beta_range_end", float),
        warm_start=said(message, "warm_start", float),
        asymmetric=asymmetric,
        span=span,
    )


def _balancer(config: CheckedMessage) -> BalancerRule | None:
    message = inner(config, "dmq_balancer")
    if message is None:
        return None
    strength, auto = said(message, "migration_strength", float), said(message, "auto_strength", bool)
    return BalancerRule(strength, auto, place(config, "dmq_balancer"))


def _overrides(root: CheckedMessage, name: str, key: str) -> tuple[Override, ...]:
    found: list[Override] = []
    for message in root.messages(name):
        subject = said(message, key, str)
        config = _calibration(message, "calibration_config")
        if subject is not None and config is not None:
            found.append(Override(subject, config))
    return tuple(found)


def _tensors(root: CheckedMessage) -> tuple[TensorRule, ...]:
    if not root.has("tensor_quantize"):
        return ()
    found: list[TensorRule] = []
    for message in root.messages("tensor_quantize"):
        layer, index = said(message, "layer_name", str), said(message, "input_index", int)
        if layer is not None and index is not None:
            found.append(TensorRule(layer, index, data_rule(message) or DataRule()))
    return tuple(found)


def _bn_update(root: CheckedMessage) -> BnUpdateRule | None:
    message = inner(root, "bn_update_config")
    if message is None:
        return None
    return BnUpdateRule(
        said(message, "bn_update_iterations", int),
        said(message, "bn_moving_average_fraction", float),
        said(message, "bn_dump_dir", str),
        place(root, "bn_update_config"),
    )


def _passes(root: CheckedMessage) -> tuple[PassRule, ...]:
    found: list[PassRule] = []
    for message in root.messages("pass"):
        name = said(message, "name", str)
        pairs = ((said(option, "key", str), said(option, "value", str)) for option in message.messages("option"))
        options = tuple((key, value) for key, value in pairs if key is not None and value is not None)
        if name is not None:
            found.append(PassRule(name, options))
    return tuple(found)
