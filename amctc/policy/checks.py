"""Checks that the .cfg reader, the JSON reader and the resolution share."""

from __future__ import annotations

from collections.abc import Iterable

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label
from amctc.dialects.op import OpDef
from amctc.policy.limits import check_range, check_search
from amctc.policy.rules import IfmrRule, WeightRule
from amctc.policy.said import Said, nearest
from amctc.policy.settings import ARQ, INIT_ALGORITHMS, SNQ
from amctc.source import Span


def check_repeats(names: Iterable[Said[str]], where: str, collector: Collector) -> None:
    """Report (AM211) each name that a list has already."""
    first: dict[str, Span | None] = {}
    for name in names:
        if name.value not in first:
            first[name.value] = name.span
            continue
        earlier = first[name.value]
        related = (Label(earlier, "the first is here"),) if earlier is not None else ()
        message = f"`{name.value}` is in {where} twice"
        collector.add(Diagnostic("AM211", message, span=name.span, related=related, help="take one of them out"))


def check_ifmr(rule: IfmrRule, collector: Collector) -> None:
    """Report every number of a data rule that is out of range or does not fit the others (AM210, AM212 to AM214)."""
    numbers: tuple[tuple[str, Said[int] | Said[float] | None], ...] = (
        ("search_range_start", rule.search_range_start),
        ("search_range_end", rule.search_range_end),
        ("search_step", rule.search_step),
        ("max_percentile", rule.max_percentile),
        ("min_percentile", rule.min_percentile),
        ("num_bits", rule.num_bits),
    )
    for name, said in numbers:
        check_range(f"ifmr_quantize.{name}", said, collector)
    check_search(rule, collector)


def check_weights(rule: WeightRule, collector: Collector) -> None:
    """Report every value of a weight rule that is out of range (AM210) or not known (AM203)."""
    algorithm = rule.algorithm.value if rule.algorithm is not None else ARQ
    if algorithm in (ARQ, SNQ):
        check_range(f"{algorithm}.num_bits", rule.num_bits, collector)
    check_range("snq_quantize.max_iteration", rule.max_iteration, collector)
    check_range("snq_quantize.min_distance", rule.min_distance, collector)
    init = rule.init_algo
    if init is not None and init.value not in INIT_ALGORITHMS:
        choices = "one of " + ", ".join(f"`{name}`" for name in INIT_ALGORITHMS)
        message = f"`{init.value[:60]}` is not a value of `init_algo`"
        help = nearest(init.value, INIT_ALGORITHMS) or choices
        collector.add(Diagnostic("AM203", message, span=init.span, help=help))


def check_fit(rule: WeightRule | None, row: OpDef, collector: Collector) -> None:
    """Report a weight rule, said for this very layer or type, that the op cannot follow (AM226, AM227).

    The row is that of a quantizable op.
    """
    quantizable = row.quantizable
    if rule is None or quantizable is None:
        return
    span = rule.algorithm.span if rule.algorithm is not None else None
    if not quantizable.weights:
        message = f"layers of type `{row.type}` have no weights to quantize"
        help = "leave the weight algorithm out; their data can be quantized"
        collector.add(Diagnostic("AM226", message, span=rule.span or span, help=help))
        return
    if rule.algorithm is not None and rule.algorithm.value == SNQ and not allows_snq(row):
        message = f"the weights of layers of type `{row.type}` cannot be quantized by `{SNQ}`"
        collector.add(Diagnostic("AM226", message, span=span, help=f"use `{ARQ}`"))
    wise = rule.channel_wise
    if wise is not None and wise.value and not quantizable.channel_wise:
        message = f"layers of type `{row.type}` have one scale for all their weights, not one for each channel"
        collector.add(Diagnostic("AM227", message, span=wise.span, help="write `channel_wise: false`"))


def allows_snq(row: OpDef) -> bool:
    """Clustering is for layers with one weight array (seed 001): not for the RNN family."""
    return row.linear is not None


def raise_in_order(collector: Collector) -> None:
    """Raise what was found, if an error is among it, in the order of the file."""
    if collector.has_errors:
        raise DiagnosticError(*sorted(collector.diagnostics, key=lambda d: d.span.start if d.span is not None else -1))
