"""A JSON layer config of post-training quantization, of any flavour, to a `Policy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from amctc.diagnostics import Collector
from amctc.policy.checks import check_beta, check_dump_name, check_offset_of_weights, check_repeats
from amctc.policy.checks_ptq import check_tensors
from amctc.policy.flavours import Flavour
from amctc.policy.json_schema import parameter_names
from amctc.policy.read_json_fields import boolean, data_rule, ends, integer, members, number, string, strings, values
from amctc.policy.rules import (
    BalancerRule,
    BnUpdateRule,
    DataRule,
    LayerRule,
    PassRule,
    Policy,
    TensorRule,
    WeightRule,
)
from amctc.policy.said import Said
from amctc.policy.search import check_search
from amctc.policy.selectors import check_selectors
from amctc.text.json_tree import JsonArray, JsonMember, JsonNode


def read_json_ptq(root: JsonNode, flavour: Flavour, collector: Collector) -> Policy:
    """The policy of a tree that the schema of the flavour has been held against; reports what does not go together."""
    names = parameter_names(flavour.json_schema)
    found: Mapping[str, JsonNode] = values(root)
    policy = Policy(
        batch_num=integer(found.get("batch_num")),
        activation_offset=boolean(found.get("activation_offset")),
        do_fusion=boolean(found.get("do_fusion")),
        skip_fusion_layers=tuple(strings(found.get("skip_fusion_layers"))),
        update_bn=boolean(found.get("update_bn")) if "update_bn" in names else None,
        bn_update_config=_bn_update(root) if "bn_update_config" in names else None,
        passes=tuple(_passes(found.get("pass"))),
        layers=tuple(_layer(member) for member in members(root) if member.key not in names),
        version=integer(found.get("version")),
        joint_quant=boolean(found.get("joint_quant")),
        weight_offset=boolean(found.get("weight_offset")),
        enable_auto_nuq=boolean(found.get("enable_auto_nuq")),
        fakequant_precision_mode=string(found.get("fakequant_precision_mode")),
        tensor_quantize=tuple(_tensors(found.get("tensor_quantize"))),
    )
    _check(policy, collector)
    return policy


def _check(policy: Policy, collector: Collector) -> None:
    check_dump_name(policy.bn_update_config, collector)
    check_repeats(policy.skip_fusion_layers, "`skip_fusion_layers`", collector)
    check_selectors(policy.skip_fusion_layers, "`skip_fusion_layers`", collector)
    check_selectors([layer.name for layer in policy.layers or ()], "the entries of layers", collector)
    for layer in policy.layers or ():
        for rule in layer.inputs:
            check_search(rule, collector)
        if layer.weights is not None:
            check_beta(layer.weights, collector)
        check_offset_of_weights(layer.weights, layer.weight_compress_only, collector)
    for tensor in policy.tensor_quantize:
        check_search(tensor.data, collector)
    check_tensors(policy.tensor_quantize, collector)


def _layer(member: JsonMember) -> LayerRule:
    fields = {inner.key: inner for inner in members(member.value)}
    found = values(member.value)
    activation, weights = found.get("activation_quant_params"), fields.get("weight_quant_params")
    inputs: tuple[DataRule, ...] = (DataRule(),)
    if isinstance(activation, JsonArray):
        inputs = tuple(data_rule(item) for item in activation.items)
    elif activation is not None:
        inputs = (data_rule(activation),)
    return LayerRule(
        Said(member.key, member.key_span),
        boolean(found.get("quant_enable")),
        inputs,
        shared=not isinstance(activation, JsonArray),
        weights=_weights(weights) if weights is not None else None,
        balancer=_balancer(fields),
        weight_compress_only=boolean(found.get("weight_compress_only")),
        inputs_span=activation.span if activation is not None else None,
    )


def _balancer(fields: Mapping[str, JsonMember]) -> BalancerRule | None:
    """None where the layer is not balanced: `dmq_balancer_auto` may be false, and say nothing."""
    strength, chosen = fields.get("dmq_balancer_param"), fields.get("dmq_balancer_auto")
    auto = boolean(chosen.value) if chosen is not None else None
    if strength is not None:
        return BalancerRule(number(strength.value), auto, strength.key_span)
    if chosen is None or auto is None or not auto.value:
        return None
    return BalancerRule(None, auto, chosen.key_span)


def _weights(member: JsonMember) -> WeightRule:
    fields = values(member.value)
    start, end = ends(fields.get("beta_range"))
    return WeightRule(
        string(fields.get("wts_algo")),
        boolean(fields.get("channel_wise")),
        integer(fields.get("num_bits")),
        integer(fields.get("max_iteration")),
        number(fields.get("min_distance")),
        string(fields.get("init_algo")),
        integer(fields.get("num_iteration")),
        number(fields.get("reg_param")),
        start,
        end,
        number(fields.get("warm_start")),
        boolean(fields.get("asymmetric")),
        span=member.key_span,
    )


def _tensors(node: JsonNode | None) -> Iterator[TensorRule]:
    for item in node.items if isinstance(node, JsonArray) else ():
        fields = values(item)
        layer, index = string(fields.get("layer_name")), integer(fields.get("input_index"))
        data = fields.get("activation_quant_params")
        if layer is not None and index is not None:
            yield TensorRule(layer, index, data_rule(data) if data is not None else DataRule())


def _bn_update(root: JsonNode) -> BnUpdateRule | None:
    member = {member.key: member for member in members(root)}.get("bn_update_config")
    if member is None:
        return None
    fields = values(member.value)
    return BnUpdateRule(
        integer(fields.get("bn_update_iterations")),
        number(fields.get("bn_moving_average_fraction")),
        string(fields.get("bn_dump_dir")),
        member.key_span,
    )


def _passes(node: JsonNode | None) -> Iterator[PassRule]:
    for item in node.items if isinstance(node, JsonArray) else ():
        fields = values(item)
        name = string(fields.get("name"))
        option = fields.get("option")
        pairs = [(Said(m.key, m.key_span), string(m.value)) for m in members(option)] if option is not None else []
        if name is not None:
            yield PassRule(name, tuple((key, value) for key, value in pairs if value is not None))
