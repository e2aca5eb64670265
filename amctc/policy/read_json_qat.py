"""A JSON layer config of quantization-aware training, of either flavour, to a `Policy`."""

from __future__ import annotations

from amctc.diagnostics import Collector
from amctc.policy.checks_training import check_pair
from amctc.policy.flavours import Flavour
from amctc.policy.json_schema import parameter_names
from amctc.policy.read_json_fields import boolean, integer, members, number, string, values
from amctc.policy.rules import Policy
from amctc.policy.rules_qat import (
    PruneRule,
    TrainingConfig,
    TrainingDataRule,
    TrainingLayer,
    TrainingRule,
    TrainingWeightRule,
)
from amctc.policy.said import Said
from amctc.text.json_tree import JsonMember, JsonNode


def read_json_qat(root: JsonNode, flavour: Flavour, collector: Collector) -> Policy:
    """The policy of a tree that the schema of the flavour has been held against; reports what does not go together."""
    names = parameter_names(flavour.json_schema)
    found = values(root)
    layers = tuple(_layer(member) for member in members(root) if member.key not in names)
    for layer in layers:
        check_pair(layer.config, collector)
    return Policy(
        version=integer(found.get("version")),
        batch_num=integer(found.get("batch_num")),
        fakequant_precision_mode=string(found.get("fakequant_precision_mode")),
        training=TrainingRule(layers=layers),
    )


def _layer(member: JsonMember) -> TrainingLayer:
    fields = {inner.key: inner for inner in members(member.value)}
    found = values(member.value)
    data, weights = fields.get("retrain_data_config"), fields.get("retrain_weight_config")
    prune = fields.get("regular_prune_config")
    return TrainingLayer(
        Said(member.key, member.key_span),
        boolean(found.get("retrain_enable")),
        boolean(found.get("regular_prune_enable")),
        TrainingConfig(
            _data(data) if data is not None else None,
            _weights(weights) if weights is not None else None,
            _prune(prune) if prune is not None else None,
        ),
    )


def _data(member: JsonMember) -> TrainingDataRule:
    fields = values(member.value)
    return TrainingDataRule(
        string(fields.get("algo")),
        number(fields.get("clip_max")),
        number(fields.get("clip_min")),
        boolean(fields.get("fixed_min")),
        integer(fields.get("num_bits")),
        string(fields.get("dst_type")),
        member.key_span,
    )


def _weights(member: JsonMember) -> TrainingWeightRule:
    fields = values(member.value)
    return TrainingWeightRule(
        string(fields.get("algo")),
        boolean(fields.get("channel_wise")),
        integer(fields.get("num_bits")),
        string(fields.get("dst_type")),
        member.key_span,
    )


def _prune(member: JsonMember) -> PruneRule:
    fields = values(member.value)
    return PruneRule(
        string(fields.get("prune_type")),
        string(fields.get("algo")),
        number(fields.get("prune_ratio")),
        boolean(fields.get("ascend_optimized")),
        string(fields.get("n_out_of_m_type")),
        integer(fields.get("update_freq")),
        member.key_span,
    )
