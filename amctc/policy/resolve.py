"""A policy and a graph to what every layer gets.

Precedence, the strongest first:

1. `skip_layers`, then `skip_layer_types`: the layer is not quantized, whatever else is said of it;
2. `override_layer_configs` under the layer's own name, then under a pattern that matches it;
3. `override_layer_types` under its type, then under a pattern that matches the type;
4. `common_config`;
5. the built-in defaults of the type.

Within a list an exact name wins over every pattern (`glob:` and `regex:`, an extension: see
`selectors`), and of patterns the last written one. As in the original, configs are not merged: the
strongest one is taken as a whole, and what it does not say comes from the built-in defaults, never
from a weaker config; the one exception, also the original's, is whether data have an offset, which
`common_config` says for configs of the same algorithm. An override by exact name also
switches on what is off by default (ReLU, Scale and so on); `common_config` and patterns do not, for
they reach layers that their author may not think of. For the same reason what a type cannot do is an
error in an override by exact name and gives way in the others. A JSON layer config stands alone: a
layer without an entry is not quantized, one with an entry of its own name is, and one that only a
pattern matches is if it is on by default or the entry says `quant_enable`.
"""

from __future__ import annotations

from functools import cache

from amctc.diagnostics import Collector, Diagnostic
from amctc.ir import Graph
from amctc.policy.advice import advise_layers
from amctc.policy.advice_bn import advise_statistics
from amctc.policy.in_vain import overrides_in_vain
from amctc.policy.limited import advise_limits, within_limits
from amctc.policy.names import Candidate, Names, check_names, first_skip
from amctc.policy.resolve_fit import check_fits
from amctc.policy.resolve_kv import kv_candidates, resolve_kv
from amctc.policy.resolved import GeneralConfig, LayerConfig, Lost, Resolved, ResolvedPolicy, Rule
from amctc.policy.rules import CalibrationRule, DataRule, LayerRule, Policy
from amctc.policy.selectors import Entry
from amctc.policy.settings import ACTIVATION_OFFSET, BATCH_NUM, DO_FUSION
from amctc.policy.tensors import check_tensor_rules, tensor_configs
from amctc.policy.values import (
    Choice,
    bn_update_config,
    idle_weights,
    input_configs,
    migration_strength,
    said_value,
    value_if_said,
    value_of,
    weight_config,
)
from amctc.text.bulk import building

JSON = "json"

_BUILT_IN = Rule("built-in default")
_NO_DATA_RULE = (DataRule(),)


def resolve(policy: Policy, graph: Graph) -> ResolvedPolicy:
    """What every layer of the graph that can be quantized gets from the policy.

    Raises `DiagnosticError` with everything that does not fit: AM215 a list of another length than
    the layer has data inputs, AM220 to AM223 and AM228 wrong names, AM224 nothing left to quantize,
    AM226 and AM227 a weight algorithm that the type does not have, AM234 a wrong pattern, AM285 an output that is
    none of a KV cache. Its
    warnings: those of the policy, AM225 an override in vain, AM272 clustered weights where they harm most,
    AM276 widths that a type cannot have, AM273 and AM275 BatchNorm statistics that cannot be renewed or should be.
    """
    with building():
        if policy.kv_cache is not None:
            return resolve_kv(policy, kv_candidates(graph))
        return _resolve(policy, graph)


def _resolve(policy: Policy, graph: Graph) -> ResolvedPolicy:
    collector = Collector()
    collector.extend(policy.warnings)
    names = Names(policy, graph)
    check_names(names, graph, collector)
    check_fits(names, policy, collector)
    check_tensor_rules(names, policy, collector)
    collector.raise_errors()
    layers = _Resolver(policy, names).layers()
    common = policy.common_config.ifmr if policy.common_config is not None else None
    tensors = tensor_configs(names, policy, _offset(policy), common, collector)
    if not tensors and not any(config.quant_enable.value for config in layers.values()):
        collector.add(_nothing_left(policy, len(layers)))
    collector.raise_errors()
    collector.extend(overrides_in_vain(names, layers))
    collector.extend(advise_limits(layers))
    advise_layers(layers, graph, collector)
    collector.extend(advise_statistics(policy, layers, graph))
    warnings = tuple(dict.fromkeys(collector.warnings))
    types = {node.name: node.type for node in graph.nodes}
    return ResolvedPolicy(_general(policy, names), layers, policy.passes, policy, types, warnings, tensors)


class _Resolver:
    def __init__(self, policy: Policy, names: Names) -> None:
        self._policy = policy
        self._names = names
        self._offset = _offset(policy)
        common = policy.common_config
        self._common: Choice | None = None
        if common is not None:
            self._common = _choice(Rule("common_config", common.span), common)
        self._common_data = common.ifmr if common is not None and policy.layers is None else None

    def layers(self) -> dict[str, LayerConfig]:
        """The config of every layer that can be quantized, in graph order."""
        return {name: self._layer(candidate) for name, candidate in self._names.quantizable.items()}

    def _layer(self, candidate: Candidate) -> LayerConfig:
        node, row, quantizable = candidate.node, candidate.row, candidate.quantizable
        default, limit = _default_of(node.type), _limit_of(candidate.limited_type)
        if self._policy.layers is not None:
            choice, enabled, lost = self._json_choice(candidate, default)
        else:
            choice, lost = self._choose(candidate, default)
            enabled, skipped = self._enabled(candidate, choice, default)
            lost = (*lost, *skipped)
        kind = choice.rule.kind
        inputs = input_configs(row.data_inputs(node), choice, self._offset, self._common_data, default)
        weights = weight_config(candidate, choice, default, limit) if quantizable.weights else None
        inputs, weights, gave_way = within_limits(inputs, weights, candidate.limits, limit)
        unsaid = self._policy.layers is not None and choice.weights is None
        idle = None if unsaid else idle_weights(candidate, choice, default, limit)
        return LayerConfig(
            node.name,
            node.type,
            enabled,
            inputs,
            weights,
            choice.rule,
            migration_strength(choice) if row.linear is not None else None,
            value_if_said(choice.weight_compress_only, kind),
            lost,
            gave_way,
            node.dialect,
            idle,
        )

    def _json_choice(self, candidate: Candidate, default: Rule) -> tuple[Choice, Resolved[bool], tuple[Lost, ...]]:
        entries = self._names.json_layers.of(candidate.node.name)
        if not entries:
            rule = Rule(f"{JSON} (no entry)")
            return Choice(rule), Resolved(False, rule), ()
        choices = [_entry_choice(entry) for entry in entries]
        rule, said = choices[0].rule, entries[0].item.quant_enable
        if said is not None:
            enabled = said_value(said, JSON)
        elif entries[0].pattern and not candidate.quantizable.on_by_default:
            enabled = Resolved(False, default)
        else:
            enabled = Resolved(True, rule)
        return choices[0], enabled, tuple(Lost(choice.rule, rule) for choice in choices[1:])

    def _choose(self, candidate: Candidate, default: Rule) -> tuple[Choice, tuple[Lost, ...]]:
        """The config that holds for a layer, and those that do not."""
        named = self._names.by_name.of(candidate.node.name)
        typed = self._names.by_type.of(*candidate.types)
        rules = [Rule("override_layer_configs", entry.name.span) for entry in named]
        rules += [Rule("override_layer_types", entry.name.span) for entry in typed]
        if not rules:
            return self._common or Choice(default), ()
        if self._common is not None:
            rules.append(self._common.rule)
        winner = (named or typed)[0].item.config
        lost = tuple(Lost(rule, rules[0]) for rule in rules[1:])
        return _choice(rules[0], winner, override=True), lost

    def _enabled(self, candidate: Candidate, choice: Choice, default: Rule) -> tuple[Resolved[bool], tuple[Lost, ...]]:
        """Whether a layer is quantized, and which rules about that do not count."""
        node, quantizable = candidate.node, candidate.quantizable
        rules = [Rule("skip_layers", entry.name.span) for entry in self._names.skip_layers.of(node.name)]
        rules += [Rule("skip_layer_types", entry.name.span) for entry in self._names.skip_types.of(*candidate.types)]
        if rules:
            if choice.override:
                rules.append(choice.rule)
            return Resolved(False, rules[0]), tuple(Lost(rule, rules[0]) for rule in rules[1:])
        if choice.override and not quantizable.on_by_default:
            typed = self._names.by_type.first(*candidate.types)
            if node.name in self._names.by_name.exact:
                return Resolved(True, choice.rule), ()
            if typed is not None and not typed.pattern:
                return Resolved(True, Rule("override_layer_types", typed.name.span)), ()
        return Resolved(quantizable.on_by_default, default), ()


@cache
def _default_of(kind: str) -> Rule:
    return Rule(f"built-in default of {kind}")


@cache
def _limit_of(kind: str) -> Rule:
    return Rule(f"limit of {kind}")


def _choice(rule: Rule, config: CalibrationRule, *, override: bool = False) -> Choice:
    inputs = (config.ifmr,) if config.ifmr is not None else _NO_DATA_RULE
    return Choice(rule, inputs, config.weights, config.balancer, config.weight_compress_only, override)


def _entry_choice(entry: Entry[LayerRule]) -> Choice:
    layer = entry.item
    rule = Rule(JSON, entry.name.span)
    return Choice(rule, layer.inputs, layer.weights, layer.balancer, layer.weight_compress_only)


def _offset(policy: Policy) -> Resolved[bool]:
    return value_of(policy.activation_offset, "activation_offset", ACTIVATION_OFFSET, _BUILT_IN)


def _general(policy: Policy, names: Names) -> GeneralConfig:
    update = policy.update_bn is not None and policy.update_bn.value
    return GeneralConfig(
        batch_num=value_of(policy.batch_num, "batch_num", BATCH_NUM, _BUILT_IN),
        activation_offset=_offset(policy),
        do_fusion=value_of(policy.do_fusion, "do_fusion", DO_FUSION, _BUILT_IN),
        skip_fusion_layers=_skip_fusion(names),
        update_bn=value_if_said(policy.update_bn, "update_bn"),
        bn_update_config=bn_update_config(policy.bn_update_config, update, _BUILT_IN),
        joint_quant=value_if_said(policy.joint_quant, "joint_quant"),
        weight_offset=value_if_said(policy.weight_offset, "weight_offset"),
        enable_auto_nuq=value_if_said(policy.enable_auto_nuq, "enable_auto_nuq"),
        fakequant_precision_mode=value_if_said(policy.fakequant_precision_mode, "fakequant_precision_mode"),
    )


def _skip_fusion(names: Names) -> tuple[Resolved[str], ...]:
    """The layers that the list stands for, each once."""
    found: dict[str, Resolved[str]] = {}
    for entry in names.skip_fusion.entries:
        rule = Rule("skip_fusion_layers", entry.name.span)
        for name in entry.matched:
            if name not in found or not entry.pattern:
                found[name] = Resolved(name, rule)
    return tuple(found.values())


def _nothing_left(policy: Policy, count: int) -> Diagnostic:
    if not count:
        message = "the model has no layer that can be quantized"
        return Diagnostic("AM224", message, help="`amctc ops` lists the types that can be")
    skip = first_skip((*policy.skip_layer_types, *policy.skip_layers))
    return Diagnostic(
        "AM224",
        f"no layer is left to quantize, of {count} that could be",
        span=skip.span if skip is not None else None,
        file=policy.source.name if policy.source is not None and skip is None else None,
        help="let at least one layer be quantized",
    )
