"""HFMG: the activation range with the least squared error on a histogram, over ranges that shed more and more bins.

Candidates come from a walk inwards from both ends of the histogram of `amctc.quant.hfmg_histogram`. Each is cut into
`2**bits` equal cells, a value goes to the centre of its cell, one outside to the centre of the first or the last cell,
and values are spread evenly inside their bins. The first candidate with the least error is the range, and its grid the
min-max one. Source: AMCT's `hfmg`, whose losses are float32; here they are float64, so that candidates that differ by
rounding alone may rank otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.quant.density_loss import Grids, errors_by_edges
from amctc.quant.grid import FLT_EPSILON, check_scale, grid_limits, scale_offset_from_range
from amctc.quant.hfmg_histogram import RangeHistogram, count_values, counts_on
from amctc.quant.ifmr import IfmrResult, all_zero, no_data, not_finite
from amctc.quant.state_parts import MOST_VALUES, State, plus_zero, settings_table, take_array, take_settings

HFMG: Final = "hfmg"

BIN_COUNTS = (1024, 2048, 4096, 8192)
BIN_COUNT = 4096

_STEPS = 100_000
"""A candidate sheds one part in so many of all values more than the one before."""

_LEAST_PART = 4
"""Candidates end where no more than one bin in so many is left."""

# What the end of a cell costs, in terms of the error integral at the edge of a bin, and how many are held at once.
_CELL_COST = 2
_CELLS_AT_ONCE = 1 << 15

# How many candidates are looked at first, and more than rounding can do to a loss, relative.
_PROBES = 32
_ROUNDING = 1e-6

_LARGEST = np.float32(1e38)
"""No legal scale is anywhere near values beyond; up to it the difference of two is a float32."""


@dataclass(frozen=True)
class HfmgSettings:
    """How activations of one layer are calibrated. Illegal values are an error (AM407).

    `bits` is 8 to 16, `num_of_bins` one of `BIN_COUNTS`. `full_range` tries the range of all values too, before the
    others. AMCT does not: the widest range that it tries has shed at least one bin. `algorithm` tells these settings
    from those of IFMR where both are plain data.
    """

    bits: int = 8
    with_offset: bool = True
    num_of_bins: int = BIN_COUNT
    full_range: bool = False
    algorithm: Literal["hfmg"] = HFMG

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise error("AM407", f"`bits` cannot be {self.bits}", help="activations have 8 to 16 bits")
        if self.num_of_bins not in BIN_COUNTS:
            rule = f"the number of bins is one of {', '.join(map(str, BIN_COUNTS))}"
            raise error("AM407", f"`num_of_bins` cannot be {self.num_of_bins}", help=rule)


Span: TypeAlias = tuple[np.float32, np.float32]
"""The least and the largest of some values."""


@dataclass(frozen=True, eq=False)
class Extent:
    """Finite values (one axis), at least one, and their range."""

    values: NDArray[np.float32]
    span: Span


class HfmgObserver:
    """Chooses the scale of one activation from a stream of float32 values, as AMCT's HFMG does.

    What it keeps is one histogram, whatever the amount of data. An array given to `update` is AMCT's batch. Observers
    merge, but counts are truncated where a range grows (see `amctc.quant.hfmg_histogram`), so that how values are split
    into updates, and the order of updates and merges, can matter to the last few counts, and with them to the choice
    between candidates that are nearly as good. Where the first update spans all later values it does not matter.

    An observer is fed by one thread at a time. After an error it is of no further use. `name` is the layer, for
    messages.
    """

    kind: ClassVar[str] = HFMG

    def __init__(self, settings: HfmgSettings | None = None, name: str = "") -> None:
        self.settings = settings or HfmgSettings()
        self.name = name
        self.histogram: RangeHistogram | None = None
        self._span: Span | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that what was seen takes: 8 a bin."""
        return self.histogram.counts.nbytes if self.histogram is not None else 0

    def update(self, array: NDArray[np.floating]) -> None:
        """Take in a batch, an array of any shape and float type, as float32.

        NaN or Inf (AM404) and values far too large for a legal scale (AM410) are errors that name the layer.
        """
        seen = self.look(array)
        span = self.widen(seen)
        self.add(span, self.count(seen, span))

    # The parts of `update`: of several batches, `look` and `count` can be done at the same time; `widen` and `add` must
    # be done in the order of the batches, each for itself.

    def look(self, array: NDArray[np.floating]) -> Extent | None:
        """A batch as `update` takes it, and its range; None where it is empty. Raises AM404."""
        with np.errstate(over="ignore"):  # a float64 too large for float32 becomes Inf, which is reported
            values = np.asarray(array, dtype=np.float32).reshape(-1)
        if not values.size:
            return None
        low, high = values.min(), values.max()
        # A NaN anywhere makes both of them NaN, an infinity is one of them.
        if not (math.isfinite(low) and math.isfinite(high)):
            raise not_finite(self.name)
        return Extent(values, (low, high))

    def widen(self, seen: Extent | None) -> Span | None:
        """The range of a batch and of all before it. Raises AM410."""
        if seen is not None:
            self._span = self._union(self._span, seen.span)
        return self._span

    def count(self, seen: Extent | None, span: Span | None) -> NDArray[np.int64] | None:
        """The counts of a batch on the range that `widen` gave for it."""
        if seen is None or span is None:
            return None
        return count_values(seen.values, *span, self.settings.num_of_bins)

    def add(self, span: Span | None, counts: NDArray[np.int64] | None) -> None:
        """Take in what was counted of a batch on a range."""
        if span is None or counts is None:
            return
        if self.histogram is not None:
            counts = counts + counts_on(self.histogram, *span)
        self.histogram = RangeHistogram(*span, counts)

    def merge(self, other: HfmgObserver) -> None:
        """Take in all that `other` has seen; it is left as it is. `ValueError` if its settings differ. AM410."""
        if self.settings != other.settings:
            raise ValueError("observers with different settings cannot be merged")
        if other.histogram is None:
            return
        self._span = self._union(self._span, (other.histogram.low, other.histogram.high))
        self.add(self._span, counts_on(other.histogram, *self._span))

    def finish(self) -> IfmrResult:
        """The chosen scale; the observer can go on afterwards.

        No data (AM406), nothing but zeros (AM405) and a scale outside its legal range (AM410) are errors that name the
        layer.
        """
        if self.histogram is None:
            raise no_data(self.name)
        if self.histogram.low == self.histogram.high == 0:
            raise all_zero(self.name)
        return search(self.histogram, self.settings, self.name)

    def state(self) -> State:
        """All that was seen, see `amctc.quant.state_parts`."""
        seen = self.histogram
        ends = plus_zero(np.array([seen.low, seen.high] if seen is not None else [], np.float32))
        counts = seen.counts.copy() if seen is not None else np.zeros(0, np.int64)
        return {"settings": settings_table(self.settings), "ends": ends, "counts": counts}

    @classmethod
    def from_state(cls, state: Mapping[str, object], name: str = "") -> HfmgObserver:
        """An observer that has seen what `state` says. Raises what `amctc.quant.state_parts` says."""
        observer = cls(take_settings(state, HfmgSettings), name)
        ends, counts = take_array(state, "ends", np.float32), take_array(state, "counts", np.int64)
        if not ends.size and not counts.size:
            return observer
        bins = observer.settings.num_of_bins
        if ends.size != 2 or ends[0] > ends[1] or np.abs(ends).max() > _LARGEST or counts.size != bins:
            raise ValueError(f"`ends` is no range, or `counts` has not {bins} bins")
        filled = counts if ends[0] < ends[1] else counts[bins // 2 : bins // 2 + 1]
        if counts.min() < 0 or not 0 < counts.sum(dtype=np.float64) < MOST_VALUES or filled.sum() != counts.sum():
            raise ValueError("`counts` counts no values")
        observer._span = (ends[0], ends[1])
        observer.histogram = RangeHistogram(*observer._span, counts)
        return observer

    def _union(self, before: Span | None, now: Span) -> Span:
        low, high = now
        if before is not None:
            low, high = min(low, before[0]), max(high, before[1])
        if max(abs(low), abs(high)) > _LARGEST:
            widest = scale_offset_from_range(low, high, self.settings.bits, self.settings.with_offset)
            check_scale(widest.scale, self.name, (float(low), float(high)))
        return low, high


def search(histogram: RangeHistogram, settings: HfmgSettings, layer_name: str = "") -> IfmrResult:
    """The grid of the best candidate range of a histogram of `settings.num_of_bins` bins with at least one value.

    `index` is the candidate's number, the full range 0 if it is tried. `loss` is the mean squared error that HFMG
    ranks it by: on its own range, before that is widened to hold 0. All-zero data give scale 1, as in AMCT. A scale
    outside its legal range (AM410) is an error that names the layer.
    """
    ranges = candidate_ranges(histogram.counts)
    if settings.full_range:
        ranges = np.concatenate([[[0, histogram.counts.size - 1]], ranges])
    losses = least_losses(histogram, ranges, settings.bits)
    index = int(np.argmin(losses))
    first, last = ranges[index]
    low, high = histogram.edge(np.array([first, last + 1]))
    params = scale_offset_from_range(low, high, settings.bits, settings.with_offset)
    check_scale(params.scale, layer_name, (float(histogram.low), float(histogram.high)))
    scale, offset = np.float32(params.scale), int(params.offset)
    low_q, high_q = grid_limits(settings.bits)
    return IfmrResult(
        scale=scale,
        offset=offset,
        bits=settings.bits,
        clip_min=float(scale * np.float32(low_q - offset)),
        clip_max=float(scale * np.float32(high_q - offset)),
        init_min=min(float(histogram.low), 0.0),
        init_max=max(float(histogram.high), 0.0),
        index=index,
        loss=float(losses[index]) / int(histogram.counts.sum()),
        exact=False,
    )


def candidate_ranges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranges to try for `counts` (bins,): first and last bin of each, both in it, shape `(candidates, 2)`.

    Each step asks how many bins either side has to give up to shed a 100000th of all values (rounded up), the right
    side only looking at what the left one leaves; the side with more bins gives them up, the right one if they are
    equal. The steps end when the last bin is no more than a quarter of all bins after the first; the range of that
    step is a candidate still, the full range is none.
    """
    bins = counts.size
    below = np.concatenate(([0], np.cumsum(counts)))
    step = max(math.ceil(int(below[-1]) / _STEPS), 1)
    # Where either side goes from each bin, if it has room; the two need each other for nothing else.
    lefts: list[int] = np.searchsorted(below, below[:-1] + step, side="left").tolist()
    rights: list[int] = (np.searchsorted(below, below[1:] - step, side="right") - 2).tolist()
    least = math.ceil(bins / _LEAST_PART)
    left, right = 0, bins - 1
    ranges: list[tuple[int, int]] = []
    while right - left > least:
        next_left = min(lefts[left], right)
        next_right = max(rights[right], next_left)
        if right - next_right >= next_left - left:
            right = next_right
        else:
            left = next_left
        ranges.append((left, right))
    return np.array(ranges, dtype=np.int64).reshape(-1, 2)


def least_losses(histogram: RangeHistogram, ranges: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    """`range_losses` of all candidates that can be the best one, infinite for the others, shape `(candidates,)`.

    Those others lose more by clipping alone than one of a few candidates, taken at equal steps, loses in all.
    """
    losses = np.full(len(ranges), np.inf)
    probes = slice(None, None, max(1, len(ranges) // _PROBES))
    losses[probes] = range_losses(histogram, ranges[probes], bits)
    clipped = clipping_errors(histogram.counts.astype(np.float64), ranges) * float(histogram.width) ** 2
    clipped[~_wide_enough(histogram, ranges, bits)] = 0
    rest = np.isinf(losses) & (clipped <= losses.min() * (1 + _ROUNDING))
    losses[rest] = range_losses(histogram, ranges[rest], bits)
    return losses


def range_losses(histogram: RangeHistogram, ranges: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    """The summed squared error of each of `ranges` (candidates, 2) as `2**bits` cells, shape `(candidates,)`, float64.

    The error of cells narrower than FLT_EPSILON is 0 by AMCT's rule: the first such candidate wins, whatever it clips.
    With 16 bits that can happen from a range of 0.03 down, and the scale of the winner can be so small that it becomes
    1.
    """
    cells = 1 << bits
    seen = _wide_enough(histogram, ranges, bits)
    losses = np.zeros(len(ranges))
    by_cells = _CELL_COST * cells < histogram.counts.size
    errors = range_errors_by_cells if by_cells else range_errors_by_edges
    losses[seen] = errors(histogram.counts.astype(np.float64), ranges[seen], cells) * float(histogram.width) ** 2
    return losses


def _wide_enough(histogram: RangeHistogram, ranges: NDArray[np.int64], bits: int) -> NDArray[np.bool_]:
    sizes = (ranges[:, 1] - ranges[:, 0] + 1).astype(np.float32)
    return np.asarray(histogram.width * sizes / np.float32(1 << bits) >= FLT_EPSILON)


def _below(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The number of values below each edge `(bins + 1,)`, and the integral of that number up to each edge."""
    below = np.concatenate(([0.0], np.cumsum(counts)))
    return below, np.concatenate(([0.0], np.cumsum(below[:-1] + counts / 2)))


def clipping_errors(counts: NDArray[np.float64], ranges: NDArray[np.int64]) -> NDArray[np.float64]:
    """The summed squared distance of all values outside each of `ranges` from its end, `(candidates,)`.

    In units of the width of a bin, of which there are `counts` (bins,). No error of a range is less.
    """

    def squares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The summed squared distance from each edge of all values below it."""
        below, integral = _below(counts)
        return np.concatenate(([0.0], np.cumsum(2 * integral[:-1] + below[:-1] + counts / 3)))

    return np.asarray(squares(counts)[ranges[:, 0]] + squares(counts[::-1])[counts.size - 1 - ranges[:, 1]])


def range_errors_by_cells(counts: NDArray[np.float64], ranges: NDArray[np.int64], cells: int) -> NDArray[np.float64]:
    """What `range_losses` says, in units of the width of a bin. `O(bins + candidates * cells)`.

    With `d` the width of a cell and `c` the centre of the last one, the squared error is that of all values from `c`,
    less `2 * d * P(b)` for each inner end `b` of a cell: `P(x)` is the integral up to x of the number of values below,
    quadratic inside a bin. That is the sum over cells of `M2 - 2 * centre * M1 + centre**2 * M0`, M0 to M2 the moments
    of their values, summed by parts. Ends of bins are integers, and ends of cells multiples of a power of two, so
    that hardly anything is rounded before the end.
    """
    numbers = np.arange(counts.size)
    below, integral = _below(counts)
    total = float(below[-1])
    first = counts.size * total - float(integral[-1])
    second = float(np.sum(counts * ((numbers + 0.5) ** 2 + 1 / 12)))
    widths = (ranges[:, 1] - ranges[:, 0] + 1) / cells
    centres = ranges[:, 1] + 1 - widths / 2
    errors = second + centres * (centres * total - 2 * first)
    halves = counts / 2
    block = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, errors.size, block):
        part = slice(start, start + block)
        ends = ranges[part, :1] + np.arange(1, cells) * widths[part, np.newaxis]
        bins = ends.astype(np.intp)
        inside = ends - bins
        integrals = integral[bins] + inside * (below[bins] + inside * halves[bins])
        errors[part] -= 2 * widths[part] * integrals.sum(axis=1)
    return errors


def range_errors_by_edges(counts: NDArray[np.float64], ranges: NDArray[np.int64], cells: int) -> NDArray[np.float64]:
    """The same as `range_errors_by_cells`, `O(candidates * bins)`: the better form for many cells."""
    edges = np.arange(counts.size + 1, dtype=np.float64)
    errors = np.empty(len(ranges))
    for i, (first, last) in enumerate(ranges.tolist()):
        width = (last - first + 1) / cells
        # Levels are multiples of the step there, so that 0 goes to the centre of the first cell.
        grid = Grids(*(np.array([[number]]) for number in (width, 0.0, cells - 1.0)))
        errors[i] = errors_by_edges(counts, edges - (first + width / 2), grid)[0]
    return errors
