"""Overrides that change nothing: what only the layers of a graph can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.policy.advice import in_vain_of
from amctc.policy.names import Names
from amctc.policy.resolved import LayerConfig
from amctc.policy.rules import Override
from amctc.policy.said import Said
from amctc.policy.selectors import Entry, Selection


def overrides_in_vain(names: Names, layers: Mapping[str, LayerConfig]) -> Iterator[Diagnostic]:
    """AM225 for each override without effect.

    It has none where a skip list, or stronger overrides, win for all that it stands for, or where it is
    a pattern and all that it stands for is off by default and nothing else switches it on.
    """
    enabled = {name for name, config in layers.items() if config.quant_enable.value}
    enabled_types = {layers[name].type for name in enabled}
    there = {config.type for config in layers.values()}
    for entry in names.by_type.entries:
        skips = [names.skip_types.first(kind) for kind in entry.matched]
        if skips and skips[0] is not None and None not in skips:
            yield in_vain_of(entry.name, "type", skips[0].name, "skip_layer_types")
        elif entry.pattern:
            found = there.intersection(entry.matched)
            off = bool(found) and enabled_types.isdisjoint(found) and not any(_on(names, kind) for kind in found)
            yield from _pattern_in_vain(names.by_type, entry, off)
    for entry in names.by_name.entries:
        places = [_skip_of(names, name) for name in entry.matched]
        if places and places[0] is not None and None not in places:
            where, skip = places[0]
            yield in_vain_of(entry.name, "layer", skip, where)
        elif entry.pattern:
            off = enabled.isdisjoint(entry.matched) and not any(_on(names, layers[n].type) for n in entry.matched)
            yield from _pattern_in_vain(names.by_name, entry, off)


def _on(names: Names, kind: str) -> bool:
    quantizable = names.types[kind].quantizable
    return quantizable is not None and quantizable.on_by_default


def _skip_of(names: Names, layer: str) -> tuple[str, Said[str]] | None:
    found = names.skip_layers.first(layer)
    if found is not None:
        return "skip_layers", found.name
    candidate = names.quantizable.get(layer)
    found = names.skip_types.first(candidate.node.type) if candidate is not None else None
    return ("skip_layer_types", found.name) if found is not None else None


def _pattern_in_vain(selection: Selection[Override], entry: Entry[Override], off: bool) -> Iterator[Diagnostic]:
    if not entry.matched:
        return
    winners = [selection.first(name) for name in entry.matched]
    first = winners[0]
    if first is not None and not any(winner is entry for winner in winners):
        message = f"the override of `{entry.name.value}` has no effect, because others win for all that it stands for"
        span = first.name.span
        related = (Label(span, f"this one for `{entry.matched[0]}`"),) if span is not None else ()
        help = "an exact name wins over a pattern, and of patterns the last written one"
        yield Diagnostic("AM225", message, Level.WARNING, entry.name.span, related=related, help=help)
    elif off:
        message = (
            f"the override of `{entry.name.value}` has no effect, because all that it stands for is off by "
            "default, which a pattern does not switch on"
        )
        help = "override the layers by their names, or their types"
        yield Diagnostic("AM225", message, Level.WARNING, entry.name.span, help=help)
