"""The search of HFMG: the range with the least squared error on a histogram, over ranges that shed more and more bins.

Candidates come from a walk inwards from both ends of the histogram of `amctc.quant.hfmg_histogram`. Each is cut into
`2**bits` equal cells, a value goes to the centre of its cell, one outside to the centre of the first or the last cell,
and values are spread evenly inside their bins. The first candidate with the least error is the range, and its grid the
min-max one. Source: AMCT's `hfmg`, whose losses are float32; here they are float64, so that candidates that differ by
rounding alone may rank otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amctc.quant import compiled
from amctc.quant.density_loss import Grids, errors_by_edges
from amctc.quant.grid import FLT_EPSILON, check_scale, grid_limits, scale_offset_from_range
from amctc.quant.hfmg_histogram import RangeHistogram
from amctc.quant.ifmr import IfmrResult

if TYPE_CHECKING:
    from amctc.quant.hfmg import HfmgSettings

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
    lefts = np.searchsorted(below, below[:-1] + step, side="left").astype(np.int64)
    rights = (np.searchsorted(below, below[1:] - step, side="right") - 2).astype(np.int64)
    return shed_ranges(lefts, rights, math.ceil(bins / _LEAST_PART))


def shed_ranges(left_steps: NDArray[np.int64], right_steps: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """The ranges `(candidates, 2)` that are left when one side after the other gives up bins.

    `left_steps` (bins,) says to which bin the left side goes from each, `right_steps` the right side. The steps end
    when the last bin is no more than `least` after the first.
    """
    if compiled.SEARCH is not None:
        ranges = np.empty((left_steps.size, 2), np.int64)
        return ranges[: compiled.SEARCH.shed_ranges(left_steps, right_steps, least, ranges)]
    lefts: list[int] = left_steps.tolist()
    rights: list[int] = right_steps.tolist()
    left, right = 0, len(lefts) - 1
    firsts: list[int] = []
    lasts: list[int] = []
    # Thousands of steps: comparisons in place of `min` and `max`, and no pairs, take a third of the time.
    while right - left > least:
        next_left = lefts[left]
        if next_left > right:
            next_left = right
        next_right = rights[right]
        if next_right < next_left:
            next_right = next_left
        if right - next_right >= next_left - left:
            right = next_right
        else:
            left = next_left
        firsts.append(left)
        lasts.append(right)
    return np.array([firsts, lasts], dtype=np.int64).T


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
