"""What a policy asks for in general, cut down to what PyTorch's and ONNX's layer types can have.

As in AMCT: what is said of a layer or of its type alone and cannot be is an error (`checks_types`), and what is said of
all layers gives way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from amctc.diagnostics import Diagnostic, Level
from amctc.policy.layer_types import NARROW_BITS, PACKED_BITS, USUAL_BITS, TypeLimits
from amctc.policy.resolved import GaveWay, InputConfig, LayerConfig, Resolved, Rule, WeightConfig

_MOST_NAMED = 5


def within_limits(
    inputs: tuple[InputConfig, ...], weights: WeightConfig | None, limits: TypeLimits | None, limit: Rule
) -> tuple[tuple[InputConfig, ...], WeightConfig | None, tuple[GaveWay, ...]]:
    """The configs as the type can have them, and the widths that gave way. `limit` is the rule for what changes."""
    if limits is None:
        return inputs, weights, ()
    gave_way: list[GaveWay] = []
    given = Resolved(USUAL_BITS, limit)
    if not limits.wide:
        gave_way += [GaveWay("data", each.num_bits, given) for each in inputs if each.num_bits.value > USUAL_BITS]
        inputs = tuple(replace(each, num_bits=given) if each.num_bits.value > USUAL_BITS else each for each in inputs)
    if not limits.offset:
        symmetric = Resolved(False, limit)
        inputs = tuple(replace(each, with_offset=symmetric) if each.with_offset.value else each for each in inputs)
    refused = (() if limits.narrow else NARROW_BITS) + (() if limits.packed else PACKED_BITS)
    if weights is not None and not weights.is_clustered and weights.num_bits.value in refused:
        gave_way.append(GaveWay("weights", weights.num_bits, given))
        weights = replace(weights, num_bits=given)
    return inputs, weights, tuple(dict.fromkeys(gave_way))


def advise_limits(layers: Mapping[str, LayerConfig]) -> Iterator[Diagnostic]:
    """AM276 for each rule that asks for a width that some layers cannot have: they have 8 bits."""
    told: dict[tuple[str, str, int], tuple[GaveWay, list[str]]] = {}
    for config in layers.values():
        for way in config.gave_way if config.quant_enable.value else ():
            span = way.asked.rule.span
            key = (way.what, way.given.rule.kind, span.start if span is not None else -1)
            told.setdefault(key, (way, []))[1].append(config.name)
    for way, names in told.values():
        kind = way.given.rule.kind.removeprefix("limit of ")
        asked, given = way.asked.value, way.given.value
        message = f"{way.what} of {asked} bits are not for layers of type `{kind}`, which get {given}"
        help = f"give the type an override with {given} bits to say that it is meant"
        notes = (f"it holds for {some_layers(names)}",)
        yield Diagnostic("AM276", message, Level.WARNING, way.asked.rule.span, notes=notes, help=help)


def some_layers(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    named = [f"`{name}`" for name in dict.fromkeys(names)]
    rest = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f" and {rest} more layers" if rest > 0 else "")
