"""The ranges of a policy's numbers (seed 001, tables of the configuration parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from types import MappingProxyType

from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.policy.rules import DataRule
from amctc.policy.said import Said, as_used, as_written
from amctc.policy.settings import IFMR, IFMR_NAME, MOST_SEARCH_STEPS

_EXACT_DIGITS = 2000  # more than any two finite doubles, written in up to 400 characters, can differ by


@dataclass(frozen=True)
class Limits:
    """The numbers from `low` to `high`; `above` and `below` leave the ends themselves out.

    `low` may be minus infinity. Where there are `choices`, these alone are allowed.
    """

    low: Decimal
    high: Decimal | None = None
    above: bool = False
    below: bool = False
    choices: tuple[int, ...] = ()

    def allows(self, number: Decimal) -> bool:
        if self.choices:
            return number in self.choices
        if number.is_nan() or number < self.low or (self.above and number == self.low):
            return False
        return self.high is None or number < self.high or (number == self.high and not self.below)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.low == self.high:
            return _text(self.low)
        if self.low.is_infinite() and self.high is not None:
            return f"{'below' if self.below else 'at most'} {_text(self.high)}"
        low = f"above {_text(self.low)}" if self.above else f"at least {_text(self.low)}"
        if self.high is None:
            return low
        return f"{low} and {'below' if self.below else 'at most'} {_text(self.high)}"


def _text(number: Decimal) -> str:
    return str(number).lower()


def _limits(low: str, high: str | None = None, *, above: bool = False, below: bool = False) -> Limits:
    return Limits(Decimal(low), None if high is None else Decimal(high), above, below)


def _one_of(*choices: int) -> Limits:
    return Limits(Decimal(choices[0]), Decimal(choices[-1]), choices=choices)


_SEARCH: Mapping[str, Limits] = MappingProxyType(
    {
        "ifmr_quantize.max_percentile": _limits("0.5", "1", above=True),
        "ifmr_quantize.min_percentile": _limits("0.5", "1", above=True),
        "ifmr_quantize.search_range_start": _limits("0", above=True),
        "ifmr_quantize.search_range_end": _limits("0", above=True),
        "ifmr_quantize.search_step": _limits("0", above=True),
    }
)

LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "version": _limits("1", "1"),
        "batch_num": _limits("1"),
        "bn_update_config.bn_update_iterations": _limits("0", "1000", above=True, below=True),
        "bn_update_config.bn_moving_average_fraction": _limits("0", "1", above=True, below=True),
        "ifmr_quantize.num_bits": _limits("8", "16"),
        **_SEARCH,
        "arq_quantize.num_bits": _limits("8", "8"),
        "snq_quantize.num_bits": _limits("4", "4"),
        "snq_quantize.max_iteration": _limits("500", "2000"),
        "snq_quantize.min_distance": _limits("1e-10", "1e-3"),
    }
)
"""The ranges of the flavour `caffe`, by the name of the .cfg message and of the field.

A JSON layer config has the same ranges.
"""

_CLIP: Mapping[str, Limits] = MappingProxyType(
    {
        "ulq_quantize.clip_max": _limits("0", above=True),
        "ulq_quantize.clip_min": _limits("-Infinity", "0", below=True),
    }
)

FLAVOUR_LIMITS: Mapping[str, Mapping[str, Limits]] = MappingProxyType(
    {
        "caffe": LIMITS,
        "pytorch": {
            "version": _limits("1", "1"),
            "batch_num": _limits("1"),
            **_SEARCH,
            "hfmg_quantize.num_of_bins": _one_of(1024, 2048, 4096, 8192),
            "arq_quantize.quant_bits": _one_of(4, 6, 7, 8),
            "ada_quantize.num_iteration": _limits("0"),
            "ada_quantize.reg_param": _limits("0", "1", above=True, below=True),
            "ada_quantize.beta_range_start": _limits("0", above=True),
            "ada_quantize.beta_range_end": _limits("0", above=True),
            "ada_quantize.warm_start": _limits("0", "1", above=True, below=True),
            "dmq_balancer.migration_strength": _limits("0.2", "0.8"),
        },
        "ge": {"version": _limits("1", "1"), **_SEARCH, "arq_quantize.quant_bits": _one_of(6, 7, 8)},
        "caffe-qat": {
            "version": _limits("1", "1"),
            "batch_num": _limits("1"),
            **_CLIP,
            "ulq_quantize.num_bits": _limits("8", "16"),
            "arq_retrain.num_bits": _limits("8", "8"),
        },
        "pytorch-qat": {
            "version": _limits("1", "1"),
            "batch_num": _limits("1"),
            **_CLIP,
            "balanced_l2_norm_filter_prune.prune_ratio": _limits("0", "1", above=True, below=True),
        },
        "kv-cache": {
            "batch_num": _limits("1"),
            **_SEARCH,
            "hfmg_quantize.num_of_bins": _one_of(1024, 2048, 4096, 8192),
        },
    }
)
"""The ranges of each flavour, by its name, under the same keys as `LIMITS`."""


def allowed(key: str, said: Said[int] | Said[float], limits: Mapping[str, Limits] = LIMITS) -> bool:
    """Whether a number is in its range, both as it is written and as it is used."""
    used = as_used(said)
    range = limits[key]
    return range.allows(used) and (used == 0 or range.allows(as_written(said)))


def check_range(
    key: str,
    said: Said[int] | Said[float] | None,
    collector: Collector,
    limits: Mapping[str, Limits] = LIMITS,
) -> None:
    """Report (AM210) a number that is outside the range it has in a flavour, if it has one."""
    if said is None or key not in limits or allowed(key, said, limits):
        return
    written = said.span.text if said.span is not None else str(said.value)
    name = key.rpartition(".")[2]
    help = None
    if key in ("ifmr_quantize.num_bits", "ulq_quantize.num_bits"):
        help = "12 bits are the widest that seldom overflow" if as_used(said) > 16 else None
    elif key in ("arq_quantize.num_bits", "arq_retrain.num_bits"):
        help = "uniform weights have 8 bits; leave `num_bits` out"
    elif name.endswith("_percentile") and 50 < said.value <= 100:
        help = "it is a fraction, not a percentage: 99.99 percent are 0.9999"
    collector.add(
        Diagnostic("AM210", f"`{name}` must be {limits[key]}, not {_short(written)}", span=said.span, help=help)
    )


def check_search(rule: DataRule, collector: Collector) -> None:
    """Report a search that ends before it starts (AM212), a step that does not fit (AM213), too many steps (AM214).

    What the rule does not say is taken from the defaults. Numbers that are out of range on their
    own are not looked at again. A rule of another algorithm has no search.
    """
    if rule.algorithm is not None and rule.algorithm.value != IFMR_NAME:
        return
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
        help = "write both ends, the smaller one first"
        collector.add(Diagnostic("AM212", message, span=span, related=related, notes=_unwritten(*ends), help=help))
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
        help = "take a smaller step, or a wider range"
        collector.add(Diagnostic("AM213", message, span=span, notes=notes, help=help))
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
