"""Policies: from a .cfg or JSON text to what every layer of a graph gets, and why."""

from amctc.policy.availability import not_yet_available
from amctc.policy.dump_dir import check_dump_dir
from amctc.policy.explain import ExplainRow, Explanation, explain, explain_to_json, explanation
from amctc.policy.explain_layers import LayerRow, explain_layers
from amctc.policy.resolve import resolve
from amctc.policy.resolved import InputConfig, LayerConfig, Lost, Resolved, ResolvedPolicy, Rule, WeightConfig
from amctc.policy.rules import PassRule, Policy
from amctc.policy.said import Said
from amctc.policy.settings import ArqSettings, BnUpdate, SnqSettings
from amctc.policy.write_json import to_json

__all__ = [
    "ArqSettings",
    "BnUpdate",
    "ExplainRow",
    "Explanation",
    "InputConfig",
    "LayerConfig",
    "LayerRow",
    "Lost",
    "PassRule",
    "Policy",
    "Resolved",
    "ResolvedPolicy",
    "Rule",
    "Said",
    "SnqSettings",
    "WeightConfig",
    "check_dump_dir",
    "explain",
    "explain_layers",
    "explain_to_json",
    "explanation",
    "not_yet_available",
    "resolve",
    "to_json",
]
