"""Overrides that change nothing: what only the layers of a graph can show."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.policy.advice import in_vain_of
from amctc.policy.names import Candidate, Names
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
    for entry in names.by_type.entries:
        kinds = names.kinds(entry.matched)
        skips = [names.skip_types.first(*types) for types in kinds]
        if skips and skips[0] is not None and None not in skips:
            yield in_vain_of(entry.name, "type", skips[0].name, "skip_layer_types")
        elif entry.pattern:
            found = [candidate for types in kinds for candidate in names.by_types.get(types, ())]
            yield from _pattern_in_vain(names.by_type, entry, kinds, _all_off(found, enabled))
    for entry in names.by_name.entries:
        places = [_skip_of(names, name) for name in entry.matched]
        if places and places[0] is not None and None not in places:
            where, skip = places[0]
            yield in_vain_of(entry.name, "layer", skip, where)
        elif entry.pattern:
            found = [names.quantizable[name] for name in entry.matched]
            subjects = [(name,) for name in entry.matched]
            yield from _pattern_in_vain(names.by_name, entry, subjects, _all_off(found, enabled))


def _all_off(found: Sequence[Candidate], enabled: Collection[str]) -> bool:
    """Whether there are such layers, all of them off by default and not switched on."""
    return bool(found) and not any(each.quantizable.on_by_default or each.node.name in enabled for each in found)


def _skip_of(names: Names, layer: str) -> tuple[str, Said[str]] | None:
    found = names.skip_layers.first(layer)
    if found is not None:
        return "skip_layers", found.name
    candidate = names.quantizable.get(layer)
    kind = names.skip_types.first(*candidate.types) if candidate is not None else None
    return ("skip_layer_types", kind.name) if kind is not None else None


def _pattern_in_vain(
    selection: Selection[Override], entry: Entry[Override], subjects: Sequence[tuple[str, ...]], off: bool
) -> Iterator[Diagnostic]:
    """`subjects` are what the pattern stands for, each by all its names."""
    if not subjects:
        return
    winners = [selection.first(*names) for names in subjects]
    first = winners[0]
    if first is not None and not any(winner is entry for winner in winners):
        message = f"the override of `{entry.name.value}` has no effect, because others win for all that it stands for"
        span = first.name.span
        related = (Label(span, f"this one for `{subjects[0][0]}`"),) if span is not None else ()
        help = "an exact name wins over a pattern, and of patterns the last written one"
        yield Diagnostic("AM225", message, Level.WARNING, entry.name.span, related=related, help=help)
    elif off:
        message = (
            f"the override of `{entry.name.value}` has no effect, because all that it stands for is off by "
            "default, which a pattern does not switch on"
        )
        help = "override the layers by their names, or their types"
        yield Diagnostic("AM225", message, Level.WARNING, entry.name.span, help=help)
