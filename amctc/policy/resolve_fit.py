"""Whether layers and types can do what a policy says for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import OpDef
from amctc.policy.checks import check_fit
from amctc.policy.checks_types import beyond_type
from amctc.policy.layer_types import TypeLimits
from amctc.policy.names import Candidate, Names
from amctc.policy.rules import CalibrationRule, DataRule, LayerRule, Policy, WeightRule
from amctc.policy.selectors import Entry


class _Kind(NamedTuple):
    """Layers that can do the same."""

    row: OpDef
    limits: TypeLimits | None


def check_fits(names: Names, policy: Policy, collector: Collector) -> None:
    """Report rules that a layer or type cannot follow (AM226, AM227, AM244) and lists of a wrong length (AM215).

    A pattern, and a type that stands for several of PyTorch's, is told of only where nothing that it stands for can
    follow it.
    """
    for override in names.by_type.entries:
        _check_entry(*_rules(override.item.config), override.pattern, _type_kinds(names, override.matched), collector)
    for override in names.by_name.entries:
        _check_entry(*_rules(override.item.config), override.pattern, _layer_kinds(names, override.matched), collector)
    for layer in names.json_layers.entries:
        # AMCT writes them for types that have none, too.
        kinds = _layer_kinds(names, layer.matched)
        idle = bool(kinds) and all(kind.limits is not None and not kind.limits.weights for kind in kinds)
        weights = None if idle else layer.item.weights
        _check_entry(layer.item.inputs, weights, layer.pattern, kinds, collector)
    for layer in names.json_layers.entries:
        _check_length(names, layer, collector)


def _rules(config: CalibrationRule) -> tuple[tuple[DataRule, ...], WeightRule | None]:
    return (config.ifmr,) if config.ifmr is not None else (), config.weights


def _type_kinds(names: Names, types: Iterable[str]) -> list[_Kind]:
    """Of the layers that are of one of these types, and for types that no layer has what their op says."""
    found: list[_Kind] = []
    for kind in names.kinds(types):
        layers, row = names.by_types.get(kind), names.types.get(kind[0])
        if layers is not None:
            found += map(_kind, layers)
        elif row is not None:
            found.append(_Kind(row, None))
    return _distinct(found)


def _layer_kinds(names: Names, layers: Iterable[str]) -> list[_Kind]:
    return _distinct(_kind(found) for found in map(names.quantizable.get, layers) if found is not None)


def _kind(candidate: Candidate) -> _Kind:
    return _Kind(candidate.row, candidate.limits)


def _distinct(kinds: Iterable[_Kind]) -> list[_Kind]:
    return list({(id(kind.row), kind.limits): kind for kind in kinds}.values())


def _check_entry(
    data: Sequence[DataRule],
    weights: WeightRule | None,
    pattern: bool,
    kinds: Sequence[_Kind],
    collector: Collector,
) -> None:
    problems: list[Diagnostic] = []
    for kind in kinds:
        found = Collector()
        check_fit(weights, kind.row, found)
        if kind.limits is not None:
            found.extend(beyond_type(kind.limits, data, weights if kind.limits.weights else None))
        if not found.has_errors and (pattern or len(kinds) > 1):
            return
        problems = problems or found.diagnostics
    collector.extend(problems)


def _check_length(names: Names, entry: Entry[LayerRule], collector: Collector) -> None:
    layer = entry.item
    if layer.shared:
        return
    for name in entry.matched:
        found = names.quantizable.get(name)
        wanted = len(found.row.data_inputs(found.node)) if found is not None else len(layer.inputs)
        if len(layer.inputs) == wanted:
            continue
        message = f"layer `{name}` has {wanted} data inputs, but there are parameters for {len(layer.inputs)}"
        help = "give one object for each, or one object alone for all"
        collector.add(Diagnostic("AM215", message, span=layer.inputs_span, help=help))
        return
