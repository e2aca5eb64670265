"""What the layers get from a policy of KV-cache quantization: how their outputs are quantized, where they are named.

A layer's config is that of `override_layers_configs` under its name, else `calibration_config` of
`kv_cache_quant_config`, each as a whole; in a JSON layer config it is the layer's entry. Whether there is an offset
says, the strongest first, the layer's own config, the common one, `activation_offset`. Only layers without windows
whose weights are constant have such outputs: PyTorch's Linear, and what stands for it in other formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.policy.resolved import GeneralConfig, KvLayerConfig, Lost, Resolved, ResolvedPolicy, Rule
from amctc.policy.rules import DataRule, Policy
from amctc.policy.rules_kv import KvCacheRule, KvOverride
from amctc.policy.said import Said, nearest
from amctc.policy.settings import ACTIVATION_OFFSET, BATCH_NUM, DO_FUSION, IFMR_NAME
from amctc.policy.values import Choice, input_configs, value_of
from amctc.text.bulk import value_type

KV_DATA: Final = "kv_data_quant_config"
COMMON: Final = "kv_cache_quant_config"
OVERRIDE: Final = "override_layers_configs"
SEARCH_RANGE: Final = ("search_range[0]", "search_range[1]")
_PER_TENSOR: Final = "per_tensor"
_JSON: Final = "json"
_LONGEST: Final = 200
_MOST_SUGGESTIONS: Final = 50  # finding the nearest name is slow where every name is wrong
_BUILT_IN: Final = Rule("built-in default")


@value_type
class KvCandidate:
    """A layer of a model: its type, and whether its output can be quantized for a KV cache."""

    type: str
    able: bool


def kv_candidates(graph: Graph) -> Mapping[str, KvCandidate]:
    """All layers of a graph, by name in graph order. Able are the linear ones whose data are rows, not windows."""
    found: dict[str, KvCandidate] = {}
    for node in graph.nodes:
        row = op_def(node)
        able = row.linear is not None and row.linear.window is None and len(node.inputs) == 1
        found[node.name] = KvCandidate(node.type, able)
    return found


def resolve_kv(policy: Policy, candidates: Mapping[str, KvCandidate]) -> ResolvedPolicy:
    """What the layers of a model get from a policy of KV-cache quantization; `kv_cache` has them in the model's order.

    Raises `DiagnosticError` with everything that does not fit: AM220 a layer that the model lacks, AM285 one whose
    output cannot be quantized.
    """
    rule = policy.kv_cache if policy.kv_cache is not None else KvCacheRule()
    collector = Collector()
    collector.extend(policy.warnings)
    named = _named(rule)
    collector.extend(_problems(named, candidates))
    collector.raise_errors()
    general = GeneralConfig(
        batch_num=value_of(policy.batch_num, "batch_num", BATCH_NUM, _BUILT_IN),
        activation_offset=value_of(policy.activation_offset, "activation_offset", ACTIVATION_OFFSET, _BUILT_IN),
        do_fusion=Resolved(DO_FUSION, _BUILT_IN),
        skip_fusion_layers=(),
        update_bn=None,
        bn_update_config=None,
    )
    own = {each.name.value: each for each in reversed((*rule.overrides, *(rule.layers or ())))}
    common = {said.value: said for said in reversed(rule.quant_layers)}
    configs = {
        said.value: _config(
            candidates[said.value].type,
            said,
            own.get(said.value),
            common.get(said.value),
            rule,
            general.activation_offset,
        )
        for said in named
    }
    ordered = {name: configs[name] for name in candidates if name in configs}
    types = {name: each.type for name, each in candidates.items()}
    return ResolvedPolicy(general, {}, (), policy, types, collector.warnings, kv_cache=ordered)


def _named(rule: KvCacheRule) -> tuple[Said[str], ...]:
    """Every layer that is named, once."""
    every = (*rule.quant_layers, *(each.name for each in (*rule.overrides, *(rule.layers or ()))))
    return tuple({said.value: said for said in reversed(every)}.values())[::-1]


def _problems(named: Iterable[Said[str]], candidates: Mapping[str, KvCandidate]) -> Iterator[Diagnostic]:
    able = [name for name, each in candidates.items() if each.able]
    suggestions = 0
    for said in named:
        found = candidates.get(said.value)
        if found is None:
            suggestions += 1
            near = nearest(said.value, able) if suggestions <= _MOST_SUGGESTIONS else None
            message = f"the model has no layer `{said.value[:_LONGEST]}`"
            yield Diagnostic("AM220", message, span=said.span, help=near or _listed(able))
        elif not found.able:
            message = (
                f"layer `{said.value[:_LONGEST]}` is of type {found.type}; keys and values come from Linear layers"
            )
            yield Diagnostic("AM285", message, span=said.span, help=_listed(able))


def _listed(able: list[str], most: int = 5) -> str:
    if not able:
        return "the model has no Linear layer: no Gemm, InnerProduct or MatMul with constant weights"
    names = ", ".join(f"`{name[:_LONGEST]}`" for name in able[:most])
    return f"its Linear layers are {names}" + (f" and {len(able) - most} more" if len(able) > most else "")


def _config(
    kind: str,
    said: Said[str],
    own: KvOverride | None,
    named: Said[str] | None,
    rule: KvCacheRule,
    offset: Resolved[bool],
) -> KvLayerConfig:
    """The config of a layer of this type, from its own rule or from the common one that names it, or from both."""
    default = Rule(f"built-in default of {COMMON}")
    if own is not None:
        chosen = Rule(OVERRIDE if rule.layers is None else _JSON, own.name.span)
        data, lost = own.data, () if named is None else (Lost(Rule(COMMON, named.span), chosen),)
    else:
        chosen, data, lost = Rule(COMMON, said.span), rule.common or DataRule(), ()
    (found,) = input_configs((0,), Choice(chosen, (data,)), offset, None, default)
    if own is not None and rule.common is not None and data.with_offset is not None:
        # The reader puts it into an override where the common config alone says it.
        if data.with_offset is rule.common.with_offset:
            said_there = Resolved(data.with_offset.value, Rule(COMMON, data.with_offset.span))
            found = replace(found, with_offset=said_there)
    granularity = value_of(data.quant_granularity, chosen.kind, _PER_TENSOR, default)
    own_offset = data.with_offset is not None
    return KvLayerConfig(said.value, kind, found, granularity, chosen, own_offset=own_offset, lost=lost)


AnyResolved: TypeAlias = Resolved[bool] | Resolved[int] | Resolved[float] | Resolved[str]


def kv_params(config: KvLayerConfig) -> dict[str, AnyResolved]:
    """The values of a layer's config by their keys in a JSON layer config, in AMCT's order.

    The two ends of a search stand for `search_range`; `asymmetric` is there where the policy says it of the layer.
    """
    data = config.output
    values: dict[str, AnyResolved] = {"act_algo": data.algorithm}
    if data.num_of_bins is not None:
        values["num_of_bins"] = data.num_of_bins
    if data.algorithm.value == IFMR_NAME:
        values["max_percentile"] = data.max_percentile
        values["min_percentile"] = data.min_percentile
        values[SEARCH_RANGE[0]] = data.search_range_start
        values[SEARCH_RANGE[1]] = data.search_range_end
        values["search_step"] = data.search_step
    if config.own_offset:
        values["asymmetric"] = data.with_offset
    values["quant_granularity"] = Resolved(int(config.per_channel), config.granularity.rule)
    return values
