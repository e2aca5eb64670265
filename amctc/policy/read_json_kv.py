"""A JSON layer config of KV-cache quantization to a `Policy`."""

from __future__ import annotations

from amctc.diagnostics import Collector
from amctc.policy.checks_training import check_named_layers
from amctc.policy.flavours import Flavour
from amctc.policy.json_schema import parameter_names
from amctc.policy.read_json_fields import boolean, data_rule, integer, members, values
from amctc.policy.rules import DataRule, Policy
from amctc.policy.rules_kv import KvCacheRule, KvOverride
from amctc.policy.said import Said
from amctc.policy.search import check_search
from amctc.text.json_tree import JsonMember, JsonNode


def read_json_kv(root: JsonNode, flavour: Flavour, collector: Collector) -> Policy:
    """The policy of a tree that the schema of the flavour has been held against; reports what does not go together."""
    names = parameter_names(flavour.json_schema)
    found = values(root)
    rule = KvCacheRule(layers=tuple(_layer(member) for member in members(root) if member.key not in names))
    for layer in rule.layers or ():
        check_search(layer.data, collector)
    policy = Policy(
        batch_num=integer(found.get("batch_num")),
        activation_offset=boolean(found.get("activation_offset")),
        kv_cache=rule,
    )
    check_named_layers(rule, root.span.source, collector)
    return policy


def _layer(member: JsonMember) -> KvOverride:
    config = values(member.value).get("kv_data_quant_config")
    return KvOverride(Said(member.key, member.key_span), data_rule(config) if config is not None else DataRule())
