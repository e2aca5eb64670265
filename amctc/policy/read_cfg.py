"""The simple configuration (.cfg, protobuf text format) to a `Policy`."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from amctc.diagnostics import Collector
from amctc.dialects.table import op_table
from amctc.policy.checks import check_fit, check_ifmr, check_repeats, check_weights, raise_in_order
from amctc.policy.limits import check_range
from amctc.policy.rules import (
    BnUpdateRule,
    CalibrationRule,
    IfmrRule,
    Override,
    PassRule,
    Policy,
    WeightRule,
)
from amctc.policy.said import Said
from amctc.policy.settings import ARQ, SNQ
from amctc.source import SourceFile
from amctc.text.checked import CheckedMessage
from amctc.text.proto_schema import load_schema
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

T = TypeVar("T", bool, int, float, str)

CFG_SCHEMA = "amct_caffe_ptq.proto"
CFG_MESSAGE = "amct_caffe_ptq.AMCTConfig"


def read_cfg(source: SourceFile) -> Policy:
    """The policy of a .cfg text.

    Raises `DiagnosticError` with everything that is wrong: AM101 to AM104 from the syntax, AM200 to
    AM204 where a field does not fit the schema, AM210 to AM227 where a value is not allowed.
    """
    collector = Collector()
    tree = parse_prototext(source)
    descriptor = load_schema(CFG_SCHEMA).descriptor(CFG_MESSAGE)
    root = check_message(tree, descriptor, collector, unknown_fields="error", code="AM20")
    policy = Policy(
        batch_num=_said(root, "batch_num", int),
        activation_offset=_said(root, "activation_offset", bool),
        do_fusion=_said(root, "do_fusion", bool),
        skip_fusion_layers=_strings(root, "skip_fusion_layers"),
        skip_layers=_strings(root, "skip_layers"),
        skip_layer_types=_strings(root, "skip_layer_types"),
        common_config=_calibration(root, "common_config"),
        override_layer_types=_overrides(root, "override_layer_types", "layer_type"),
        override_layer_configs=_overrides(root, "override_layer_configs", "layer_name"),
        update_bn=_said(root, "update_bn", bool),
        bn_update_config=_bn_update(root),
        passes=_passes(root),
        source=source,
    )
    _check(policy, collector)
    raise_in_order(collector)
    return replace(policy, warnings=collector.warnings)


def _said(message: CheckedMessage, name: str, kind: type[T]) -> Said[T] | None:
    entry = message.field(name)
    if entry is None or not isinstance(entry.value, kind):
        return None
    return Said(entry.value, entry.span)


def _strings(message: CheckedMessage, name: str) -> tuple[Said[str], ...]:
    found = message.occurrences(name)
    return tuple(Said(entry.value, entry.span) for entry in found if isinstance(entry.value, str))


def _calibration(message: CheckedMessage, name: str) -> CalibrationRule | None:
    config = message.message(name)
    entry = message.field(name)
    if config is None or entry is None:
        return None
    return CalibrationRule(_ifmr(config), _weights(config), entry.name_span)


def _ifmr(config: CheckedMessage) -> IfmrRule | None:
    ifmr = config.message("ifmr_quantize")
    if ifmr is None:
        return None
    return IfmrRule(
        search_range_start=_said(ifmr, "search_range_start", float),
        search_range_end=_said(ifmr, "search_range_end", float),
        search_step=_said(ifmr, "search_step", float),
        max_percentile=_said(ifmr, "max_percentile", float),
        min_percentile=_said(ifmr, "min_percentile", float),
        num_bits=_said(ifmr, "num_bits", int),
    )


def _weights(config: CheckedMessage) -> WeightRule | None:
    for algorithm in (ARQ, SNQ):
        message, entry = config.message(algorithm), config.field(algorithm)
        if message is None or entry is None:
            continue
        said = Said(algorithm, entry.name_span)
        wise = _said(message, "channel_wise", bool)
        if algorithm == ARQ:
            return WeightRule(said, wise, _said(message, "num_bits", int), span=entry.name_span)
        return WeightRule(
            said,
            wise,
            max_iteration=_said(message, "max_iteration", int),
            min_distance=_said(message, "min_distance", float),
            init_algo=_said(message, "init_algo", str),
            span=entry.name_span,
        )
    return None


def _overrides(root: CheckedMessage, name: str, key: str) -> tuple[Override, ...]:
    found: list[Override] = []
    for message in root.messages(name):
        said = _said(message, key, str)
        config = _calibration(message, "calibration_config")
        if said is not None and config is not None:
            found.append(Override(said, config))
    return tuple(found)


def _bn_update(root: CheckedMessage) -> BnUpdateRule | None:
    message, entry = root.message("bn_update_config"), root.field("bn_update_config")
    if message is None or entry is None:
        return None
    return BnUpdateRule(
        _said(message, "bn_update_iterations", int),
        _said(message, "bn_moving_average_fraction", float),
        _said(message, "bn_dump_dir", str),
        entry.name_span,
    )


def _passes(root: CheckedMessage) -> tuple[PassRule, ...]:
    found: list[PassRule] = []
    for message in root.messages("pass"):
        name = _said(message, "name", str)
        pairs = ((_said(option, "key", str), _said(option, "value", str)) for option in message.messages("option"))
        options = tuple((key, value) for key, value in pairs if key is not None and value is not None)
        if name is not None:
            found.append(PassRule(name, options))
    return tuple(found)


def _check(policy: Policy, collector: Collector) -> None:
    check_range("batch_num", policy.batch_num, collector)
    if policy.bn_update_config is not None:
        bn = policy.bn_update_config
        check_range("bn_update_config.bn_update_iterations", bn.bn_update_iterations, collector)
        check_range("bn_update_config.bn_moving_average_fraction", bn.bn_moving_average_fraction, collector)
    overrides = (*policy.override_layer_types, *policy.override_layer_configs)
    for config in (policy.common_config, *(override.config for override in overrides)):
        if config is not None and config.ifmr is not None:
            check_ifmr(config.ifmr, collector)
        if config is not None and config.weights is not None:
            check_weights(config.weights, collector)
    for override in policy.override_layer_types:
        row = op_table().get(f"caffe.{override.name.value}")
        if row is not None:
            check_fit(override.config.weights, row, collector)
    for name in ("skip_layers", "skip_layer_types", "skip_fusion_layers"):
        check_repeats(getattr(policy, name), f"`{name}`", collector)
    for name in ("override_layer_types", "override_layer_configs"):
        check_repeats([override.name for override in getattr(policy, name)], f"`{name}`", collector)
    for entry in policy.passes:
        check_repeats([key for key, _ in entry.options], f"the options of `{entry.name.value}`", collector)
