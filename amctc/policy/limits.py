"""The ranges of a policy's numbers (seed 001, tables of the configuration parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

from amctc.diagnostics import Collector, Diagnostic
from amctc.policy.said import Number, Said, as_used, as_written, number_of
from amctc.quant.hfmg import BIN_COUNTS


@dataclass(frozen=True, eq=False)
class Limits:
    """The numbers from `low` to `high`; `above` and `below` leave the ends themselves out.

    `low` may be minus infinity. Where there are `choices`, these alone are allowed. Each is equal to
    itself alone.
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
            "hfmg_quantize.num_of_bins": _one_of(*BIN_COUNTS),
            "arq_quantize.quant_bits": _one_of(4, 6, 7, 8),
            "ada_quantize.num_iteration": _limits("0"),
            "ada_quantize.quant_bits": _one_of(4, 6, 7, 8),
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
            "hfmg_quantize.num_of_bins": _one_of(*BIN_COUNTS),
        },
    }
)
"""The ranges of each flavour, by its name, under the same keys as `LIMITS`."""


def allowed(key: str, said: Said[int] | Said[float], limits: Mapping[str, Limits] = LIMITS) -> bool:
    """Whether a number is in its range, both as it is written and as it is used."""
    return allowed_number(limits[key], number_of(said))


@lru_cache(maxsize=1024)
def allowed_number(range: Limits, number: Number) -> bool:
    """Whether a number is in a range, both as it is written and as it is used."""
    used = as_used(number)
    return range.allows(used) and (used == 0 or range.allows(as_written(number)))


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
        help = "12 bits are the widest that seldom overflow" if said.value > 16 else None
    elif key in ("arq_quantize.num_bits", "arq_retrain.num_bits"):
        help = "uniform weights have 8 bits; leave `num_bits` out"
    elif name.endswith("_percentile") and 50 < said.value <= 100:
        help = "it is a fraction, not a percentage: 99.99 percent are 0.9999"
    collector.add(
        Diagnostic("AM210", f"`{name}` must be {limits[key]}, not {_short(written)}", span=said.span, help=help)
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
