"""The JSON layer config (what `amctc config` writes) to a `Policy`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from amctc.diagnostics import Collector
from amctc.policy.checks import check_repeats, raise_in_order
from amctc.policy.json_schema import parameter_names, validate
from amctc.policy.limits import check_search
from amctc.policy.rules import BnUpdateRule, IfmrRule, LayerRule, PassRule, Policy, WeightRule
from amctc.policy.said import Said
from amctc.source import SourceFile
from amctc.text.json_source import JsonArray, JsonMember, JsonNode, JsonObject, JsonScalar, parse_json


def read_json_config(source: SourceFile) -> Policy:
    """The policy of a JSON layer config.

    Raises `DiagnosticError` with everything that is wrong: AM101 to AM130 from the syntax, then what
    `json_schema.validate` finds, names and options told twice (AM211) and searches that cannot be
    (AM212 to AM214).
    """
    root = parse_json(source)
    collector = Collector()
    validate(root, collector)
    policy = _policy(source, root)
    check_repeats(policy.skip_fusion_layers, "`skip_fusion_layers`", collector)
    for layer in policy.layers or ():
        for rule in layer.inputs:
            check_search(rule, collector)
    raise_in_order(collector)
    return policy


def _policy(source: SourceFile, root: JsonNode) -> Policy:
    parameters = {key: root.get(key) for key in parameter_names()} if isinstance(root, JsonObject) else {}
    return Policy(
        batch_num=_integer(parameters.get("batch_num")),
        activation_offset=_boolean(parameters.get("activation_offset")),
        do_fusion=_boolean(parameters.get("do_fusion")),
        skip_fusion_layers=tuple(_strings(parameters.get("skip_fusion_layers"))),
        update_bn=_boolean(parameters.get("update_bn")),
        bn_update_config=_bn_update(parameters.get("bn_update_config")),
        passes=tuple(_passes(parameters.get("pass"))),
        layers=tuple(_layer(member) for member in _members(root) if member.key not in parameter_names()),
        source=source,
    )


def _layer(member: JsonMember) -> LayerRule:
    name = Said(member.key, member.key_span)
    fields = {inner.key: inner for inner in _members(member.value)}
    enable = fields.get("quant_enable")
    activation = fields.get("activation_quant_params")
    weights = fields.get("weight_quant_params")
    inputs: tuple[IfmrRule, ...] = (IfmrRule(),)
    if activation is not None and isinstance(activation.value, JsonArray):
        inputs = tuple(_ifmr(item) for item in activation.value.items)
    elif activation is not None:
        inputs = (_ifmr(activation.value),)
    return LayerRule(
        name,
        _boolean(enable.value) if enable is not None else None,
        inputs,
        shared=activation is None or not isinstance(activation.value, JsonArray),
        weights=_weights(weights) if weights is not None else None,
        inputs_span=activation.value.span if activation is not None else None,
    )


def _ifmr(node: JsonNode) -> IfmrRule:
    fields = _values(node)
    bounds = fields.get("search_range")
    ends = bounds.items if isinstance(bounds, JsonArray) and len(bounds.items) == 2 else ()
    return IfmrRule(
        search_range_start=_number(ends[0]) if ends else None,
        search_range_end=_number(ends[1]) if ends else None,
        search_step=_number(fields.get("search_step")),
        max_percentile=_number(fields.get("max_percentile")),
        min_percentile=_number(fields.get("min_percentile")),
        num_bits=_integer(fields.get("num_bits")),
        with_offset=_boolean(fields.get("with_offset")),
    )


def _weights(member: JsonMember) -> WeightRule:
    fields = _values(member.value)
    return WeightRule(
        _string(fields.get("wts_algo")),
        _boolean(fields.get("channel_wise")),
        _integer(fields.get("num_bits")),
        _integer(fields.get("max_iteration")),
        _number(fields.get("min_distance")),
        _string(fields.get("init_algo")),
        span=member.key_span,
    )


def _bn_update(node: JsonNode | None) -> BnUpdateRule | None:
    if node is None:
        return None
    fields = _values(node)
    return BnUpdateRule(
        _integer(fields.get("bn_update_iterations")),
        _number(fields.get("bn_moving_average_fraction")),
        _string(fields.get("bn_dump_dir")),
        node.span,
    )


def _passes(node: JsonNode | None) -> Iterator[PassRule]:
    for item in node.items if isinstance(node, JsonArray) else ():
        fields = _values(item)
        name = _string(fields.get("name"))
        option = fields.get("option")
        pairs = [(Said(m.key, m.key_span), _string(m.value)) for m in _members(option)] if option is not None else []
        if name is not None:
            yield PassRule(name, tuple((key, value) for key, value in pairs if value is not None))


def _members(node: JsonNode) -> tuple[JsonMember, ...]:
    return node.members if isinstance(node, JsonObject) else ()


def _values(node: JsonNode) -> dict[str, JsonNode]:
    return {member.key: member.value for member in _members(node)}


def _strings(node: JsonNode | None) -> Iterator[Said[str]]:
    for item in node.items if isinstance(node, JsonArray) else ():
        said = _string(item)
        if said is not None:
            yield said


# A value of the wrong type is told by the schema; here it counts as not written.


def _boolean(node: JsonNode | None) -> Said[bool] | None:
    if isinstance(node, JsonScalar) and isinstance(node.value, bool):
        return Said(node.value, node.span)
    return None


def _integer(node: JsonNode | None) -> Said[int] | None:
    if not isinstance(node, JsonScalar) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, int) or (isinstance(node.value, float) and node.value.is_integer()):
        return Said(int(node.value), node.span)  # JSON Schema takes 8.0 for a whole number
    return None


def _number(node: JsonNode | None) -> Said[float] | None:
    if not isinstance(node, JsonScalar) or isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return None
    try:
        return Said(float(node.value), node.span)
    except OverflowError:
        # A whole number of hundreds of digits; where it is allowed at all, no larger one makes a difference.
        return Said(sys.float_info.max if node.value > 0 else -sys.float_info.max, node.span)


def _string(node: JsonNode | None) -> Said[str] | None:
    if isinstance(node, JsonScalar) and isinstance(node.value, str):
        return Said(node.value, node.span)
    return None
