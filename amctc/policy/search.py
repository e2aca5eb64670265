"""The search of a data rule: which clip ranges are tried, and whether such a search can be."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.policy.limits import LIMITS, allowed_number
from amctc.policy.rules_data import DataRule
from amctc.policy.said import Number, Said, as_used, as_written, number_of
from amctc.policy.settings import IFMR, IFMR_NAME, MOST_SEARCH_STEPS

_EXACT_DIGITS: Final = 2000  # more than any two finite doubles, written in up to 400 characters, can differ by

_START: Final = Said(IFMR.search_range[0])
_END: Final = Said(IFMR.search_range[1])
_STEP: Final = Said(IFMR.search_step)


class Search(NamedTuple):
    """The numbers of a search; what the rule does not say is taken from the defaults."""

    start: Said[float]
    end: Said[float]
    step: Said[float]

    @classmethod
    def of(cls, rule: DataRule) -> Search | None:
        """The search of a rule that says something of it."""
        start, end, step = rule.search_range_start, rule.search_range_end, rule.search_step
        if start is None and end is None and step is None:
            return None
        return cls(start or _START, end or _END, step or _STEP)

    @property
    def candidates(self) -> Decimal | None:
        """How many are tried, not rounded; None where a number is out of range on its own."""
        return _candidates(number_of(self.start), number_of(self.end), number_of(self.step))

    @property
    def fault(self) -> Fault | None:
        """What is wrong. Numbers that are out of range on their own are not looked at again."""
        return _fault(number_of(self.start), number_of(self.end), number_of(self.step))


Fault: TypeAlias = Literal["AM212", "AM213", "AM214"]
"""The code of a search that ends before it starts, of a step that does not fit, of too many steps."""


@lru_cache(maxsize=1024)
def _candidates(start: Number, end: Number, step: Number) -> Decimal | None:
    if not (_ends_allowed(start, end) and _step_allowed(step)):
        return None
    with localcontext(prec=50):
        return (as_used(end) - as_used(start)) / as_used(step)


@lru_cache(maxsize=1024)
def _fault(start: Number, end: Number, step: Number) -> Fault | None:
    if not _ends_allowed(start, end):
        return None
    if as_used(start) >= as_used(end) or as_written(start) >= as_written(end):
        return "AM212"
    if not _step_allowed(step):
        return None
    with localcontext(prec=_EXACT_DIGITS):
        length = as_used(end) - as_used(start)
        if as_used(step) > length or as_written(step) > as_written(end) - as_written(start):
            return "AM213"
        return "AM214" if length > as_used(step) * MOST_SEARCH_STEPS else None


def _ends_allowed(start: Number, end: Number) -> bool:
    limits = LIMITS["ifmr_quantize.search_range_start"], LIMITS["ifmr_quantize.search_range_end"]
    return allowed_number(limits[0], start) and allowed_number(limits[1], end)


def _step_allowed(step: Number) -> bool:
    return allowed_number(LIMITS["ifmr_quantize.search_step"], step)


def check_search(rule: DataRule, collector: Collector) -> None:
    """Report a search that ends before it starts (AM212), a step that does not fit (AM213), too many steps (AM214).

    A rule of another algorithm has no search.
    """
    search = Search.of(rule) if rule.algorithm is None or rule.algorithm.value == IFMR_NAME else None
    fault = search.fault if search is not None else None
    if search is None or fault is None:
        return
    start, end, step = search
    ends = (("search_range_start", start), ("search_range_end", end))
    if fault == "AM212":
        span = end.span or start.span
        related = (Label(start.span, "the start"),) if start.span is not None and end.span is not None else ()
        message = f"the search range ends at {end.value}, which is not above its start {start.value}"
        help = "write both ends, the smaller one first"
        collector.add(Diagnostic(fault, message, span=span, related=related, notes=_unwritten(*ends), help=help))
        return
    notes = _unwritten(*ends, ("search_step", step))
    if fault == "AM213":
        with localcontext(prec=_EXACT_DIGITS):
            length = float(as_used(number_of(end)) - as_used(number_of(start)))
        message = f"`search_step` is {step.value}, but the search range is only {length:g} long"
        help = "take a smaller step, or a wider range"
    else:
        message = f"this search would try more than {MOST_SEARCH_STEPS} candidates"
        help = "take a larger `search_step`; 0.01 is usual"
    collector.add(Diagnostic(fault, message, span=step.span or end.span or start.span, notes=notes, help=help))


def _unwritten(*numbers: tuple[str, Said[float]]) -> tuple[str, ...]:
    return tuple(f"`{name}` is not written here, so it is {said.value}" for name, said in numbers if said.span is None)
