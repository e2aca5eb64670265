"""A policy and a graph to what every layer gets.

Precedence: built-in default of the type, then `common_config`, `override_layer_types`,
`override_layer_configs`; the skip lists win over all. As in the original, configs are not merged:
the strongest one is taken as a whole, and what it does not say comes from the built-in defaults,
never from a weaker config. An override also switches on a type that is off by default (ReLU, Scale
and so on); `common_config` does not. A JSON layer config stands alone: a layer without an entry is
not quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import Quantizable
from amctc.ir import Graph, Node
from amctc.policy.checks import allows_snq, check_fit
from amctc.policy.names import Candidate, NameChecker, first_skip
from amctc.policy.resolved import (
    BnUpdateConfig,
    GeneralConfig,
    InputConfig,
    LayerConfig,
    Resolved,
    ResolvedPolicy,
    Rule,
    WeightConfig,
)
from amctc.policy.rules import BnUpdateRule, IfmrRule, LayerRule, Override, Policy, WeightRule
from amctc.policy.said import Said
from amctc.policy.settings import (
    ACTIVATION_OFFSET,
    ARQ,
    ARQ_BITS,
    BATCH_NUM,
    DO_FUSION,
    IFMR,
    SNQ,
    SNQ_DEFAULTS,
)

T = TypeVar("T")

JSON = "json"


def resolve(policy: Policy, graph: Graph) -> ResolvedPolicy:
    """What every layer of the graph that can be quantized gets from the policy.

    Raises `DiagnosticError` with everything that does not fit: AM215 a list of another length than
    the layer has data inputs, AM220 to AM223 and AM228 wrong names, AM224 nothing left to quantize,
    AM226 and AM227 a weight algorithm that the type does not have.
    """
    return _Resolver(policy, graph).run()


@dataclass(frozen=True)
class _Choice:
    """The config that applies to one layer: its rules, where they come from, and how that is called."""

    rule: Rule
    inputs: tuple[IfmrRule, ...]
    weights: WeightRule | None
    explicit: bool


class _Resolver:
    def __init__(self, policy: Policy, graph: Graph) -> None:
        self._policy = policy
        self._collector = Collector()
        self._collector.extend(policy.warnings)
        self._names = NameChecker(graph, self._collector)
        self._skip_layers = {name.value: name for name in policy.skip_layers}
        self._skip_types = {name.value: name for name in policy.skip_layer_types}
        self._by_type = {override.name.value: override for override in policy.override_layer_types}
        self._by_name = {override.name.value: override for override in policy.override_layer_configs}
        self._entries = {layer.name.value: layer for layer in policy.layers or ()}
        self._offset = resolved(policy.activation_offset, "activation_offset", ACTIVATION_OFFSET, "built-in default")

    def run(self) -> ResolvedPolicy:
        self._names.check(self._policy)
        self._check_fit()
        self._collector.raise_errors()
        layers = {name: self._layer(candidate) for name, candidate in self._names.quantizable.items()}
        self._collector.raise_errors()
        if not any(config.quant_enable.value for config in layers.values()):
            self._nothing_left(len(layers))
        self._collector.raise_errors()
        warnings = self._collector.warnings
        return ResolvedPolicy(self._general(), layers, self._policy.passes, self._policy, warnings)

    def _check_fit(self) -> None:
        for override in self._policy.override_layer_types:
            row = self._names.types.get(override.name.value)
            if row is not None:
                check_fit(override.config.weights, row, self._collector)
        named = [(override.name.value, override.config.weights) for override in self._policy.override_layer_configs]
        named += [(layer.name.value, layer.weights) for layer in self._policy.layers or ()]
        for name, weights in named:
            found = self._names.quantizable.get(name)
            if found is not None:
                check_fit(weights, found.row, self._collector)
        for layer in self._policy.layers or ():
            self._check_length(layer)

    def _check_length(self, layer: LayerRule) -> None:
        found = self._names.quantizable.get(layer.name.value)
        if found is None or layer.shared:
            return
        wanted = len(found.row.data_inputs(found.node))
        if len(layer.inputs) == wanted:
            return
        message = f"layer `{layer.name.value}` has {wanted} data inputs, but {len(layer.inputs)} sets of parameters"
        help = "give one object for each, or one object alone for all"
        self._collector.add(Diagnostic("AM215", message, span=layer.inputs_span, help=help))

    def _layer(self, candidate: Candidate) -> LayerConfig:
        node, row, quantizable = candidate
        entry = self._entries.get(node.name)
        choice = self._choose(node)
        inputs = row.data_inputs(node)
        rules = choice.inputs if len(choice.inputs) == len(inputs) else choice.inputs[:1] * len(inputs)
        return LayerConfig(
            node.name,
            node.type,
            self._enabled(node, quantizable, choice, entry),
            tuple(self._input(node, index, rule, choice) for index, rule in zip(inputs, rules, strict=True)),
            _weights(candidate, choice) if quantizable.weights else None,
            choice.rule,
        )

    def _choose(self, node: Node) -> _Choice:
        if self._policy.layers is not None:
            entry = self._entries.get(node.name)
            if entry is None:
                return _Choice(Rule(f"{JSON} (no entry)"), (IfmrRule(),), None, True)
            return _Choice(Rule(JSON, entry.name.span), entry.inputs, entry.weights, True)
        for table, key, kind in (
            (self._by_name, node.name, "override_layer_configs"),
            (self._by_type, node.type, "override_layer_types"),
        ):
            override: Override | None = table.get(key)
            if override is not None:
                config = override.config
                rule = Rule(kind, override.name.span)
                return _Choice(rule, (config.ifmr or IfmrRule(),), config.weights, True)
        common = self._policy.common_config
        if common is not None:
            return _Choice(Rule("common_config", common.span), (common.ifmr or IfmrRule(),), common.weights, False)
        return _Choice(Rule(f"built-in default of {node.type}"), (IfmrRule(),), None, False)

    def _enabled(
        self, node: Node, quantizable: Quantizable, choice: _Choice, entry: LayerRule | None
    ) -> Resolved[bool]:
        if self._policy.layers is not None:
            if entry is None:
                return Resolved(False, choice.rule)
            return Resolved(True, choice.rule) if entry.quant_enable is None else _said(entry.quant_enable, JSON)
        skip = self._skip_layers.get(node.name)
        if skip is not None:
            return Resolved(False, Rule("skip_layers", skip.span))
        skip = self._skip_types.get(node.type)
        if skip is not None:
            return Resolved(False, Rule("skip_layer_types", skip.span))
        if choice.explicit and not quantizable.on_by_default:
            return Resolved(True, choice.rule)
        return Resolved(quantizable.on_by_default, Rule(f"built-in default of {node.type}"))

    def _input(self, node: Node, index: int, rule: IfmrRule, choice: _Choice) -> InputConfig:
        kind = choice.rule.kind
        default = f"built-in default of {node.type}"
        start, end = IFMR.search_range
        offset = _said(rule.with_offset, kind) if rule.with_offset is not None else self._offset
        return InputConfig(
            index,
            resolved(rule.num_bits, kind, IFMR.bits, default),
            offset,
            resolved(rule.max_percentile, kind, IFMR.max_percentile, default),
            resolved(rule.min_percentile, kind, IFMR.min_percentile, default),
            resolved(rule.search_range_start, kind, start, default),
            resolved(rule.search_range_end, kind, end, default),
            resolved(rule.search_step, kind, IFMR.search_step, default),
        )

    def _general(self) -> GeneralConfig:
        policy = self._policy
        default = "built-in default"
        skips = tuple(_said(name, "skip_fusion_layers") for name in policy.skip_fusion_layers)
        return GeneralConfig(
            batch_num=resolved(policy.batch_num, "batch_num", BATCH_NUM, default),
            activation_offset=self._offset,
            do_fusion=resolved(policy.do_fusion, "do_fusion", DO_FUSION, default),
            skip_fusion_layers=skips,
            update_bn=_said(policy.update_bn, "update_bn") if policy.update_bn is not None else None,
            bn_update_config=_bn_update(policy.bn_update_config),
        )

    def _nothing_left(self, count: int) -> None:
        if not count:
            message = "the model has no layer that can be quantized"
            self._collector.add(Diagnostic("AM224", message, help="`amctc ops` lists the types that can be"))
            return
        skip = first_skip((*self._policy.skip_layer_types, *self._policy.skip_layers))
        self._collector.add(
            Diagnostic(
                "AM224",
                f"no layer is left to quantize, of {count} that could be",
                span=skip.span if skip is not None else None,
                file=self._policy.source.name if self._policy.source is not None and skip is None else None,
                help="let at least one layer be quantized",
            )
        )


def resolved(said: Said[T] | None, kind: str, default: T, default_kind: str) -> Resolved[T]:
    """What is said, by a rule of this kind, or the default."""
    return _said(said, kind) if said is not None else Resolved(default, Rule(default_kind))


def _said(said: Said[T], kind: str) -> Resolved[T]:
    return Resolved(said.value, Rule(kind, said.span))


def _weights(candidate: Candidate, choice: _Choice) -> WeightConfig:
    """The weight config of a layer with weights; what `common_config` wants and the op cannot do gives way."""
    node, row, quantizable = candidate
    kind, default, limit = choice.rule.kind, f"built-in default of {node.type}", f"limit of {node.type}"
    rule = choice.weights or WeightRule()
    algorithm = resolved(rule.algorithm, kind, ARQ, default)
    if algorithm.value == SNQ and not allows_snq(row):
        rule = WeightRule()
        algorithm = Resolved(ARQ, Rule(limit))
    wise = resolved(rule.channel_wise, kind, quantizable.channel_wise, default)
    if wise.value and not quantizable.channel_wise:
        wise = Resolved(False, Rule(limit))
    if algorithm.value != SNQ:
        return WeightConfig(algorithm, wise, resolved(rule.num_bits, kind, ARQ_BITS, default))
    return WeightConfig(
        algorithm,
        wise,
        resolved(rule.num_bits, kind, SNQ_DEFAULTS.bits, default),
        resolved(rule.max_iteration, kind, SNQ_DEFAULTS.max_iteration, default),
        resolved(rule.min_distance, kind, SNQ_DEFAULTS.min_distance, default),
        resolved(rule.init_algo, kind, SNQ_DEFAULTS.init_algo, default),
    )


def _bn_update(rule: BnUpdateRule | None) -> BnUpdateConfig | None:
    if rule is None:
        return None
    kind = "bn_update_config"
    iterations, fraction, folder = rule.bn_update_iterations, rule.bn_moving_average_fraction, rule.bn_dump_dir
    return BnUpdateConfig(
        _said(iterations, kind) if iterations is not None else None,
        _said(fraction, kind) if fraction is not None else None,
        _said(folder, kind) if folder is not None else None,
    )
