"""Whether layers and types can do what a policy says for them."""

from __future__ import annotations

from collections.abc import Iterable

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.op import OpDef
from amctc.policy.checks import check_fit
from amctc.policy.names import Names
from amctc.policy.rules import LayerRule, Policy, WeightRule
from amctc.policy.selectors import Entry


def check_fits(names: Names, policy: Policy, collector: Collector) -> None:
    """Report weight rules that a layer or type cannot follow (AM226, AM227) and lists of a wrong length (AM215).

    A pattern is told of only where nothing that it stands for can follow it.
    """
    for override in names.by_type.entries:
        _check_entry(override.item.config.weights, override.pattern, _type_rows(names, override.matched), collector)
    for override in names.by_name.entries:
        _check_entry(override.item.config.weights, override.pattern, _layer_rows(names, override.matched), collector)
    for layer in names.json_layers.entries:
        _check_entry(layer.item.weights, layer.pattern, _layer_rows(names, layer.matched), collector)
    for layer in names.json_layers.entries:
        _check_length(names, layer, collector)


def _type_rows(names: Names, types: Iterable[str]) -> list[OpDef]:
    return [names.types[kind] for kind in types if kind in names.types]


def _layer_rows(names: Names, layers: Iterable[str]) -> list[OpDef]:
    rows = {found.row.name: found.row for found in map(names.quantizable.get, layers) if found is not None}
    return list(rows.values())


def _check_entry(weights: WeightRule | None, pattern: bool, rows: list[OpDef], collector: Collector) -> None:
    if weights is None:
        return
    problems: list[Diagnostic] = []
    for row in rows:
        found = Collector()
        check_fit(weights, row, found)
        if pattern and not found.has_errors:
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
