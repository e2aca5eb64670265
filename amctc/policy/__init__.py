"""Policies: from a .cfg or JSON text to what every layer of a graph gets, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand
from amctc.policy.availability import not_yet_available
from amctc.policy.dump_dir import check_dump_dir
from amctc.policy.resolve import resolve
from amctc.policy.resolved import InputConfig, LayerConfig, Lost, Resolved, ResolvedPolicy, Rule, WeightConfig
from amctc.policy.rules import PassRule, Policy
from amctc.policy.said import Said
from amctc.policy.settings import ArqSettings, BnUpdate, SnqSettings

if TYPE_CHECKING:
    from amctc.policy.explained import ExplainRow, Explanation, explain, explain_to_json, explanation
    from amctc.policy.explained_layers import LayerRow, explain_layers
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

# What a policy comes to, told: to quantize with one needs none of it.
__getattr__ = on_demand(
    __name__,
    {
        "ExplainRow": "amctc.policy.explained",
        "Explanation": "amctc.policy.explained",
        "LayerRow": "amctc.policy.explained_layers",
        "explain": "amctc.policy.explained",
        "explain_layers": "amctc.policy.explained_layers",
        "explain_to_json": "amctc.policy.explained",
        "explanation": "amctc.policy.explained",
        "to_json": "amctc.policy.write_json",
    },
)
