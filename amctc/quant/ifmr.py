"""IFMR: the activation scale with the least mean squared error, over a search around the largest value.

The smallest value stays fixed; candidates for the largest are `ratio * maximum`, ratios from `start` to
`end` in equal steps. Each candidate gives a scale; the data are clipped, rounded to multiples of the scale
(without the offset) and compared with themselves. The first candidate with the least error wins. Source:
AMCT's `ifmr`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.quant.grid import FLT_EPSILON, QuantParams, check_scale, grid_limits, guard_scale

MOST_CANDIDATES = 100_000
_CHUNK = 1 << 15


@dataclass(frozen=True)
class IfmrSettings:
    """How activations of one layer are calibrated. Illegal values are an error (AM407).

    `bits` is 8 to 16; percentiles are in (0.5, 1] and say which part of the data the initial range keeps on
    either side; `search_range` and `search_step` are in units of the initial maximum.
    """

    bits: int = 8
    with_offset: bool = True
    max_percentile: float = 0.999999
    min_percentile: float = 0.999999
    search_range: tuple[float, float] = (0.7, 1.3)
    search_step: float = 0.01

    def __post_init__(self) -> None:
        start, end = self.search_range
        if not 8 <= self.bits <= 16:
            raise _illegal("bits", self.bits, "activations have 8 to 16 bits")
        for name, value in (("max_percentile", self.max_percentile), ("min_percentile", self.min_percentile)):
            if not 0.5 < value <= 1:
                raise _illegal(name, value, "a percentile is above 0.5 and at most 1")
        if not 0 < start < end < math.inf:
            raise _illegal("search_range", self.search_range, "a search range starts above 0 and ends after its start")
        if not 0 < self.search_step < math.inf:
            raise _illegal("search_step", self.search_step, "a search step is above 0")
        if (end - start) / self.search_step > MOST_CANDIDATES:
            raise _illegal("search_step", self.search_step, f"there are at most {MOST_CANDIDATES} candidates")


@dataclass(frozen=True)
class IfmrResult:
    """What a search found.

    `scale` and `offset` are the grid of `bits` bits, `clip_min` and `clip_max` its ends in real values.
    `init_min` and `init_max` are the range before the search, `index` the winning candidate, `loss` its
    mean squared error. `exact` says whether every value was looked at in the search, or a histogram of
    them.
    """

    scale: np.float32
    offset: int
    bits: int
    clip_min: float
    clip_max: float
    init_min: float
    init_max: float
    index: int
    loss: float
    exact: bool

    @property
    def params(self) -> QuantParams:
        """The grid alone."""
        return QuantParams(np.asarray(self.scale), np.asarray(self.offset, dtype=np.int32), self.bits)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scales of a search, in order: three float32 arrays `(candidates,)`."""

    scales: NDArray[np.float32]
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]


def search_ratios(settings: IfmrSettings) -> NDArray[np.float32]:
    """The ratios that are tried, float32. By float arithmetic the defaults give 61 of them, 1.3 included."""
    start, end = settings.search_range
    return np.arange(start, end, settings.search_step).astype(np.float32)


def tail_rank(count: int, percentile: float) -> int:
    """Which of `count` values the percentile picks: the k-th largest (or smallest), 1 the extreme itself."""
    if 1 - percentile < FLT_EPSILON:
        return 1
    return max(1, count - int(percentile * count))


def make_candidates(settings: IfmrSettings, init_min: np.float32, init_max: np.float32) -> Candidates:
    """The scales and clip ranges to try for an initial range with `init_min <= 0 <= init_max`."""
    low_q, high_q = grid_limits(settings.bits)
    ratios = search_ratios(settings)
    with np.errstate(over="ignore"):
        if settings.with_offset:
            highs = ratios * init_max
            lows = np.full_like(highs, init_min)
            scales = (highs - lows) / np.float32(high_q - low_q)
        else:
            highs = ratios * max(init_max, -init_min)
            lows = -highs
            scales = highs / np.float32(-low_q if init_max < -init_min else high_q)
    return Candidates(guard_scale(scales), lows, highs)


def choose(
    settings: IfmrSettings,
    candidates: Candidates,
    losses: NDArray[np.float64],
    initial: tuple[np.float32, np.float32],
    exact: bool,
) -> IfmrResult:
    """The result for the first candidate with the least loss."""
    low_q, high_q = grid_limits(settings.bits)
    index = int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))
    scale = np.float32(candidates.scales[index])
    offset = int(-np.rint(initial[0] / scale)) + low_q if settings.with_offset else 0
    return IfmrResult(
        scale=scale,
        offset=offset,
        bits=settings.bits,
        clip_min=float(scale * np.float32(low_q - offset)),
        clip_max=float(scale * np.float32(high_q - offset)),
        init_min=float(initial[0]),
        init_max=float(initial[1]),
        index=index,
        loss=float(losses[index]),
        exact=exact,
    )


def search(data: NDArray[np.floating], settings: IfmrSettings, layer_name: str = "") -> IfmrResult:
    """The exact search on all of `data` (any shape, taken as float32), `O(candidates * values)`.

    All-zero data give scale 1, as in AMCT. No data (AM406), NaN or Inf (AM404) and a scale outside its
    legal range (AM410) are errors that name the layer.
    """
    values = np.asarray(data, dtype=np.float32).reshape(-1)
    if not values.size:
        raise no_data(layer_name)
    if not np.isfinite(values).all():
        raise not_finite(layer_name)
    upper = values.size - tail_rank(values.size, settings.max_percentile)
    lower = tail_rank(values.size, settings.min_percentile) - 1
    ordered = np.partition(values, sorted({lower, upper}))
    initial = (min(ordered[lower], np.float32(0)), max(ordered[upper], np.float32(0)))
    seen = (float(values.min()), float(values.max()))
    candidates = make_candidates(settings, *initial)
    check_scale(candidates.scales[0], layer_name, seen)
    result = choose(settings, candidates, measure_losses(values, candidates), initial, exact=True)
    check_scale(result.scale, layer_name, seen)
    return result


def measure_losses(values: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float64]:
    """Mean squared error of each candidate on `values` (one axis), summed in float64; shape `(candidates,)`.

    Single errors are in float32, as in AMCT, so that overflow makes a loss infinite here too.
    """
    totals = np.zeros(candidates.scales.size)
    buffer = np.empty(min(_CHUNK, values.size), dtype=np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, values.size, _CHUNK):
            chunk = values[start : start + _CHUNK]
            work = buffer[: chunk.size]
            for i, scale in enumerate(candidates.scales):
                np.clip(chunk, candidates.lows[i], candidates.highs[i], out=work)
                np.divide(work, scale, out=work)
                np.rint(work, out=work)
                np.multiply(work, scale, out=work)
                np.subtract(work, chunk, out=work)
                np.square(work, out=work)
                totals[i] += work.sum(dtype=np.float64)
    return totals / values.size


def no_data(layer_name: str) -> DiagnosticError:
    """The error for a layer that no value reached."""
    return error(
        "AM406",
        f"no activation of layer `{layer_name}` was seen in calibration",
        help="give at least one batch of calibration data that reaches the layer",
    )


def all_zero(layer_name: str) -> DiagnosticError:
    """The error for a layer that only zeros reached."""
    return error(
        "AM405",
        f"all activations of layer `{layer_name}` are 0, so no scale can be chosen",
        help="skip the layer, or calibrate with data that reach it",
    )


def not_finite(layer_name: str) -> DiagnosticError:
    """The error for data that hold NaN or Inf."""
    return error(
        "AM404",
        f"the activation of layer `{layer_name}` holds NaN or Inf",
        help="check the calibration data and the weights before the layer",
    )


def _illegal(name: str, value: object, rule: str) -> DiagnosticError:
    return error("AM407", f"`{name}` cannot be {value}", help=rule)
