"""What a policy may say, but should not: warnings that come of the manual's advice (seed 001)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from amctc.diagnostics import Collector, Diagnostic, Label, Level
from amctc.ir import Graph
from amctc.policy.advice_bn import advise_bn_update, clustered_by
from amctc.policy.flavours import CAFFE, CAFFE_QAT
from amctc.policy.resolved import LayerConfig, Rule
from amctc.policy.rules import DataRule, Policy
from amctc.policy.rules_qat import TrainingDataRule
from amctc.policy.said import Said
from amctc.policy.search import Search
from amctc.policy.settings import ARQ, MOST_SEARCH_STEPS, SNQ

WIDEST_SAFE_BITS = 12
"""Wider data overflow the 32-bit sums of large layers."""

MANY_SEARCH_STEPS = 500
"""The default search has 60."""

_WIDTHS_IN_BITS = (CAFFE, CAFFE_QAT)
"""Flavours that know widths between 8 and 16 bits."""

_MOST_TOLD = 10
"""Of one kind: a layer config may have the same number for each of a thousand layers."""


def advise(policy: Policy, collector: Collector) -> None:
    """Warn of data too wide (AM270), of long searches (AM271) and of what has no effect (AM225, AM274)."""
    rules = list(_data_rules(policy))
    wide: list[DataRule | TrainingDataRule] = [*rules, *_training_rules(policy)]
    if policy.flavour not in _WIDTHS_IN_BITS:
        wide = []
    collector.extend(_first_ones(found for rule in wide for found in _too_wide(rule)))
    collector.extend(_first_ones(found for rule in rules for found in _long_search(rule)))
    collector.extend(in_vain(policy))
    if not collector.has_errors:  # an `update_bn` that is mistyped looks like one that is not there
        collector.extend(advise_bn_update(policy))


def in_vain(policy: Policy) -> Iterator[Diagnostic]:
    """AM225 for each override of a layer or type that is skipped under the same name."""
    for what, skips, where, overrides in (
        ("type", policy.skip_layer_types, "skip_layer_types", policy.override_layer_types),
        ("layer", policy.skip_layers, "skip_layers", policy.override_layer_configs),
    ):
        skipped = {name.value: name for name in skips}
        for override in overrides:
            skip = skipped.get(override.name.value)
            if skip is not None:
                yield in_vain_of(override.name, what, skip, where)


def in_vain_of(name: Said[str], what: str, skip: Said[str], where: str) -> Diagnostic:
    """AM225: an override that has no effect because of an entry of the list `where`."""
    return Diagnostic(
        "AM225",
        f"the override of {what} `{name.value}` has no effect, because `{where}` wins over it",
        Level.WARNING,
        name.span,
        related=(Label(skip.span, "skipped here"),) if skip.span is not None else (),
        help="take one of the two out",
    )


def advise_layers(layers: Mapping[str, LayerConfig], graph: Graph, collector: Collector) -> None:
    """Warn (AM272) of clustered weights in the first and the last layer with weights, once for each rule.

    Only of those that a policy file asks for: a record has settled the matter.
    """
    weighted = [layers[node.name] for node in graph.nodes if node.name in layers and layers[node.name].weights]
    ends = [("first", weighted[0]), ("last", weighted[-1])] if weighted else []
    told: dict[int, tuple[Rule, list[str]]] = {}
    for word, config in ends:
        rule = clustered_by(config)
        if rule is not None and rule.span is not None:
            named = told.setdefault(rule.span.start, (rule, []))[1]
            named.append(f"the {word} layer with weights (`{config.name}`)")
    for rule, names in told.values():
        message = f"`{SNQ}` holds for {' and '.join(dict.fromkeys(names))}"
        help = f"give it an override with `{ARQ}`: these layers suffer most from 16 levels"
        collector.add(Diagnostic("AM272", message, Level.WARNING, rule.span, help=help))


def _data_rules(policy: Policy) -> Iterator[DataRule]:
    overrides = (*policy.override_layer_types, *policy.override_layer_configs)
    for config in (policy.common_config, *(override.config for override in overrides)):
        if config is not None and config.ifmr is not None:
            yield config.ifmr
    for layer in policy.layers or ():
        yield from layer.inputs
    yield from (tensor.data for tensor in policy.tensor_quantize)
    if policy.kv_cache is not None:
        kv = policy.kv_cache
        yield from (override.data for override in (*kv.overrides, *(kv.layers or ())))
        if kv.common is not None:
            yield kv.common


def _training_rules(policy: Policy) -> Iterator[TrainingDataRule]:
    rule = policy.training
    if rule is not None:
        overrides = (*rule.override_layer_types, *rule.override_layer_configs)
        configs = [rule.common, *(override.config for override in overrides)]
        configs += [layer.config for layer in rule.layers or ()]
        for config in configs:
            if config.data is not None:
                yield config.data


def _too_wide(rule: DataRule | TrainingDataRule) -> Iterator[Diagnostic]:
    """Only of a width in bits: where a file names a type, 16 bits are the only other choice."""
    bits = rule.num_bits
    if bits is not None and rule.dst_type is None and WIDEST_SAFE_BITS < bits.value <= 16:
        message = f"sums of {bits.value}-bit data may overflow the 32 bits that the hardware adds in"
        help = f"write {WIDEST_SAFE_BITS}: over 8 bits, all widths are stored in 16"
        yield Diagnostic("AM270", message, Level.WARNING, bits.span, help=help)


def _long_search(rule: DataRule) -> Iterator[Diagnostic]:
    search = Search.of(rule)
    candidates = search.candidates if search is not None else None
    if search is None or candidates is None:
        return
    span = search.step.span or search.end.span or search.start.span
    if span is not None and MANY_SEARCH_STEPS < candidates <= MOST_SEARCH_STEPS:
        message = f"this search tries about {int(candidates)} candidates for every layer, which may take long"
        help = "take a larger `search_step`; 0.01 is usual"
        yield Diagnostic("AM271", message, Level.WARNING, span, help=help)


def _first_ones(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """The first ten; the last of them says how many more there are."""
    told = list(found)
    if len(told) <= _MOST_TOLD:
        yield from told
        return
    yield from told[: _MOST_TOLD - 1]
    last = told[_MOST_TOLD - 1]
    more = len(told) - _MOST_TOLD
    note = f"the same holds in {more} more place{'s' if more > 1 else ''}"
    yield Diagnostic(last.code, last.message, last.level, last.span, notes=(note,), help=last.help)
