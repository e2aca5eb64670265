"""Checks of single rules that the .cfg reader, the JSON reader and the resolution share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label, Level
from amctc.dialects.op import OpDef
from amctc.policy.limits import Limits, check_range
from amctc.policy.rules import BnUpdateRule, DataRule, WeightRule
from amctc.policy.said import Said, nearest
from amctc.policy.search import check_search
from amctc.policy.settings import ARQ, BETA_RANGE, SNQ
from amctc.quant.snq_settings import INIT_ALGOS
from amctc.source import Span

DUMP_DIR_HELP: Final = "name a folder that can be made and written, or take `bn_dump_dir` out"

_MOST_TOLD = 1000


def check_repeats(names: Iterable[Said[str]], where: str, collector: Collector, level: Level = Level.ERROR) -> None:
    """Report (AM211) each name that a list has already."""
    first: dict[str, Span | None] = {}
    for name in names:
        if name.value not in first:
            first[name.value] = name.span
            continue
        earlier = first[name.value]
        related = (Label(earlier, "the first is here"),) if earlier is not None else ()
        message = f"`{name.value}` is in {where} twice"
        collector.add(Diagnostic("AM211", message, level, name.span, related=related, help="take one of them out"))


def check_data(rule: DataRule, limits: Mapping[str, Limits], collector: Collector) -> None:
    """Report every number of a data rule that is out of range or does not fit the others (AM210, AM212 to AM214)."""
    numbers: tuple[tuple[str, Said[int] | Said[float] | None], ...] = (
        ("ifmr_quantize.search_range_start", rule.search_range_start),
        ("ifmr_quantize.search_range_end", rule.search_range_end),
        ("ifmr_quantize.search_step", rule.search_step),
        ("ifmr_quantize.max_percentile", rule.max_percentile),
        ("ifmr_quantize.min_percentile", rule.min_percentile),
        ("ifmr_quantize.num_bits", rule.num_bits),
        ("hfmg_quantize.num_of_bins", rule.num_of_bins),
    )
    for key, said in numbers:
        check_range(key, said, collector, limits)
    check_search(rule, collector)


def check_weights(rule: WeightRule, limits: Mapping[str, Limits], collector: Collector) -> None:
    """Report every value of a weight rule that is out of range (AM210), not known (AM203) or no fall (AM240)."""
    algorithm = rule.algorithm.value if rule.algorithm is not None else ARQ
    numbers: tuple[tuple[str, Said[int] | Said[float] | None], ...] = (
        (f"{algorithm}.num_bits", rule.num_bits),
        (f"{algorithm}.quant_bits", rule.num_bits),
        ("snq_quantize.max_iteration", rule.max_iteration),
        ("snq_quantize.min_distance", rule.min_distance),
        ("ada_quantize.num_iteration", rule.num_iteration),
        ("ada_quantize.reg_param", rule.reg_param),
        ("ada_quantize.beta_range_start", rule.beta_range_start),
        ("ada_quantize.beta_range_end", rule.beta_range_end),
        ("ada_quantize.warm_start", rule.warm_start),
    )
    for key, said in numbers:
        check_range(key, said, collector, limits)
    init = rule.init_algo
    if init is not None and init.value not in INIT_ALGOS:
        choices = "one of " + ", ".join(f"`{name}`" for name in INIT_ALGOS)
        message = f"`{init.value[:60]}` is not a value of `init_algo`"
        help = nearest(init.value, INIT_ALGOS) or choices
        collector.add(Diagnostic("AM203", message, span=init.span, help=help))
    check_beta(rule, collector)


def check_beta(rule: WeightRule, collector: Collector) -> None:
    """Report (AM240) a range of beta that does not fall; what is not said is taken from the defaults."""
    start = rule.beta_range_start or Said(BETA_RANGE[0])
    end = rule.beta_range_end or Said(BETA_RANGE[1])
    if start.value > end.value or start.value <= 0 or end.value <= 0:
        return
    related = (Label(start.span, "the start"),) if start.span is not None and end.span is not None else ()
    message = f"the range of beta ends at {end.value}, which is not below its start {start.value}"
    help = "beta falls during the optimization; 20 to 2 is usual"
    collector.add(Diagnostic("AM240", message, span=end.span or start.span, related=related, help=help))


def check_dump_name(rule: BnUpdateRule | None, collector: Collector) -> None:
    """Report (AM245) a `bn_dump_dir` that no folder can be called; the file system is not looked at."""
    name = rule.bn_dump_dir if rule is not None else None
    if name is not None and (not name.value or "\0" in name.value):
        what = "is empty" if not name.value else "has a character of code 0, which no file name can have"
        collector.add(Diagnostic("AM245", f"`bn_dump_dir` {what}", span=name.span, help=DUMP_DIR_HELP))


def check_offset_of_weights(rule: WeightRule | None, compress_only: Said[bool] | None, collector: Collector) -> None:
    """Report (AM241) weights with an offset where data are quantized too."""
    if rule is None or rule.asymmetric is None or not rule.asymmetric.value:
        return
    if compress_only is None or not compress_only.value:
        message = "weights may have an offset only where they alone are quantized"
        help = "write `weight_compress_only: true` beside it, or take `asymmetric` out"
        collector.add(Diagnostic("AM241", message, span=rule.asymmetric.span, help=help))


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
    """Raise what was found, if an error is among it, in the order of the file.

    Where more than a thousand were found, only the first thousand errors are told.
    """
    if not collector.has_errors:
        return
    found = sorted(collector.diagnostics, key=lambda d: d.span.start if d.span is not None else -1)
    if len(found) > _MOST_TOLD:
        errors = [diagnostic for diagnostic in found if diagnostic.level is Level.ERROR]
        found = errors[:_MOST_TOLD]
        left = len(errors) - _MOST_TOLD
        if left > 0:
            found[-1] = replace(found[-1], notes=(*found[-1].notes, f"{left} more mistakes are not told"))
    raise DiagnosticError(*found)
