"""The ranges of a policy's numbers (seed 001, tables of the configuration parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from types import MappingProxyType

from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.policy.rules import IfmrRule
from amctc.policy.said import Said, as_used, as_written
from amctc.policy.settings import IFMR, MOST_SEARCH_STEPS

_EXACT_DIGITS = 2000  # more than any two finite doubles, written in up to 400 characters, can differ by


@dataclass(frozen=True)
class Limits:
    """The numbers from `low` to `high`; `above` and `below` leave the ends themselves out."""

    low: Decimal
    high: Decimal | None = None
    above: bool = False
    below: bool = False

    def allows(self, number: Decimal) -> bool:
        if number.is_nan() or number < self.low or (self.above and number == self.low):
            return False
        return self.high is None or number < self.high or (number == self.high and not self.below)

    def __str__(self) -> str:
        if self.low == self.high:
            return _text(self.low)
        low = f"above {_text(self.low)}" if self.above else f"at least {_text(self.low)}"
        if self.high is None:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {_text(self.high)}"


def _text(number: Decimal) -> str:
    return str(number).lower()


def _limits(low: str, high: str | None = None, *, above: bool = False, below: bool = False) -> Limits:
    return Limits(Decimal(low), None if high is None else Decimal(high), above, below)


LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "version": _limits("1", "1"),
        "batch_num": _limits("1"),
        "bn_update_config.bn_update_iterations": _limits("0", "1000", above=True, below=True),
        "bn_update_config.bn_moving_average_fraction": _limits("0", "1", above=True, below=True),
        "ifmr_quantize.num_bits": _limits("8", "16"),
        "ifmr_quantize.max_percentile": _limits("0.5", "1", above=True),
        "ifmr_quantize.min_percentile": _limits("0.5", "1", above=True),
        "ifmr_quantize.search_range_start": _limits("0", above=True),
        "ifmr_quantize.search_range_end": _limits("0", above=True),
        "ifmr_quantize.search_step": _limits("0", above=True),
        "arq_quantize.num_bits": _limits("8", "8"),
        "snq_quantize.num_bits": _limits("4", "4"),
        "snq_quantize.max_iteration": _limits("500", "2000"),
        "snq_quantize.min_distance": _limits("1e-10", "1e-3"),
    }
)
"""By the name of the .cfg message and of the field; a JSON layer config has the same ranges."""


def allowed(key: str, said: Said[int] | Said[float]) -> bool:
    """Whether a number is in its range, both as it is written and as it is used."""
    used = as_used(said)
    limits = LIMITS[key]
    return limits.allows(used) and (used == 0 or limits.allows(as_written(said)))


def check_range(key: str, said: Said[int] | Said[float] | None, collector: Collector) -> None:
    """Report (AM210) a number that is outside its range."""
    if said is None or allowed(key, said):
        return
    written = said.span.text if said.span is not None else str(said.value)
    name = key.rpartition(".")[2]
    limits = LIMITS[key]
    help = None
    if key == "ifmr_quantize.num_bits":
        help = "12 bits are the widest that seldom overflow" if as_used(said) > 16 else None
    elif key == "arq_quantize.num_bits":
        help = "uniform weights have 8 bits; leave `num_bits` out"
    collector.add(Diagnostic("AM210", f"`{name}` must be {limits}, not {_short(written)}", span=said.span, help=help))


def check_search(rule: IfmrRule, collector: Collector) -> None:
    """Report a search that ends before it starts (AM212), a step that does not fit (AM213), too many steps (AM214).

    What the rule does not say is taken from the defaults. Numbers that are out of range on their
    own are not looked at again.
    """
    default_start, default_end = IFMR.search_range
    start = rule.search_range_start or Said(default_start)
    end = rule.search_range_end or Said(default_end)
    step = rule.search_step or Said(IFMR.search_step)
    if not (allowed("ifmr_quantize.search_range_start", start) and allowed("ifmr_quantize.search_range_end", end)):
        return
    ends = (("search_range_start", start), ("search_range_end", end))
    if as_used(start) >= as_used(end) or as_written(start) >= as_written(end):
        span = end.span or start.span
        related = (Label(start.span, "the start"),) if start.span is not None and end.span is not None else ()
        message = f"the search range ends at {end.value}, which is not above its start {start.value}"
        collector.add(Diagnostic("AM212", message, span=span, related=related, notes=_unwritten(*ends)))
        return
    if not allowed("ifmr_quantize.search_step", step):
        return
    span = step.span or end.span or start.span
    with localcontext(prec=_EXACT_DIGITS):
        used = as_used(end) - as_used(start), as_used(step)
        exact = as_written(end) - as_written(start), as_written(step)
        too_long = used[1] > used[0] or exact[1] > exact[0]
        too_many = used[0] > used[1] * MOST_SEARCH_STEPS
    notes = _unwritten(*ends, ("search_step", step))
    if too_long:
        message = f"`search_step` is {step.value}, but the search range is only {_plain(used[0])} long"
        collector.add(Diagnostic("AM213", message, span=span, notes=notes))
    elif too_many:
        message = f"this search would try more than {MOST_SEARCH_STEPS} candidates"
        help = "take a larger `search_step`; 0.01 is usual"
        collector.add(Diagnostic("AM214", message, span=span, notes=notes, help=help))


def _unwritten(*numbers: tuple[str, Said[float]]) -> tuple[str, ...]:
    return tuple(f"`{name}` is not written here, so it is {said.value}" for name, said in numbers if said.span is None)


def _plain(number: Decimal) -> str:
    return f"{float(number):g}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
