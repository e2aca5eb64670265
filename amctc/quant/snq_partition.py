"""The best division of sorted values into k runs, exactly, for many rows at once.

A dynamic programme over the number of runs would take k passes over all runs of cells. Instead each run is given a
price that is taken off its gain; one pass then finds the best runs of any number, and those are the best of all
divisions into as many. A higher price makes them fewer, so one that gives about k runs is looked for. Rows for which
that is k itself are done. For the others the ends found enclose those of the best k runs so closely that a programme
over the number of runs costs little (`_windows`).

Both rest on one property of the error of runs, the quadrangle inequality: for cells a <= b <= c <= d the runs a..c
and b..d together lose no more than a..d and b..c. It holds for centres that are means and for those that are the best
ones of a grid: with c1 the best centre of a..d and c2 that of b..c, give the smaller of them to a..c and the larger to
b..d. The cells b..c then have both, as before; those on the outer side have c2 in place of c1, and are no closer to
c1, since they lie beyond the mean of b..c as seen from c1. It follows (Aggarwal, Schieber and Tokuyama, "Finding a
minimum-weight k-link path in graphs with the concave Monge property and applications", 1994):

- the start of the best last run never moves down as its end moves up, so starts below those found for the end before
  need not be tried;
- some best k runs interleave with the best c runs that a price gave.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amctc.quant.snq_runs import Cells, FloatArray, IntArray, overwritten_with_gains

_ROUNDS = 6
"""At most so many prices are tried for a row; the first or second one does for nearly all."""

_NEAR = 3
"""At most so far from k runs, to search between the ends found costs less than another price; measured."""

_FIRST = 0.92
"""What is made of the price that is right for very dense values: for fewer it is too high. Measured on real weights."""

_STEEP = 4
"""The number of runs is taken to fall with the price to the power `-1 / _STEEP`; 3 for dense values, more for fewer."""

_ROWS = 192
"""Rows that are priced together: longer slabs cost less, but then those of wide rows leave the cache; measured."""

_PAIRS = 1 << 14
"""Numbers in a slab of the search between ends, about."""


def best_edges(cells: Cells, sizes: IntArray, k: int, *, on_grid: bool) -> IntArray:
    """The ends of the `k` runs of cells with the least error for each row, `[rows, k + 1]`; k is at least 2.

    Each of the first `sizes` `[rows]` cells must hold values, and those behind none; there are at least k cells. A
    run's centre is its mean, or with `on_grid` the nearest integer of INT8. Exact but for rounding in float64. Time
    grows with `k * cells²` at most, and with less than `cells²` for most rows.
    """
    low = np.tile(np.arange(k + 1), (len(sizes), 1))  # what is best for rows of k cells or fewer
    high = low.copy()
    several = np.flatnonzero(sizes > k)
    several = several[np.argsort(sizes[several], kind="stable")]  # rows of one chunk are padded to the widest of them
    if len(several):
        low[several], high[several] = _windows(cells.rows(several, int(sizes[several[-1]])), sizes[several], k, on_grid)
    widest = (high - low).max(axis=1)
    left = np.flatnonzero(widest)
    left = left[np.argsort(widest[left], kind="stable")]
    edges = low
    for chunk in _window_chunks(left, widest):
        edges[chunk] = _between(cells, chunk, low[chunk], high[chunk], on_grid)
    edges[:, k] = cells.counts.shape[1] - 1
    return edges


def _windows(cells: Cells, sizes: IntArray, k: int, on_grid: bool) -> tuple[IntArray, IntArray]:
    """Between which bounds the ends of the best `k` runs lie: the lowest and the highest, `[rows, k + 1]` each.

    Rows have more than k cells and come by their sizes.
    """
    low, high = np.empty((2, len(sizes), k + 1), dtype=np.intp)
    price = _first_prices(cells, k)
    too_low, too_high = np.zeros(len(sizes)), np.full(len(sizes), np.inf)
    todo = np.arange(len(sizes))
    for _ in range(_ROUNDS):
        runs = np.empty(len(todo), dtype=np.intp)
        for start in range(0, len(todo), _ROWS):
            chunk = todo[start : start + _ROWS]
            some = cells.rows(chunk, int(sizes[chunk[-1]]))
            path = _path(_priced(some, sizes[chunk], price[chunk], on_grid), sizes[chunk])
            runs[start : start + _ROWS] = found = np.count_nonzero(path, axis=0)
            low[chunk], high[chunk] = _interleaved(path, found, k)
        far = np.abs(runs - k) > _NEAR
        todo, runs = todo[far], runs[far]
        tried = price[todo]
        too_low[todo] = np.where(runs > k, tried, too_low[todo])
        too_high[todo] = np.where(runs < k, tried, too_high[todo])
        bottom, top = too_low[todo], too_high[todo]
        following = tried * (runs / k) ** _STEEP
        outside = (following <= bottom) | (following >= top)
        following[outside] = np.sqrt(bottom[outside]) * np.sqrt(top[outside])
        price[todo] = following
        todo = todo[(following > bottom) & (following < top)]
        if not len(todo):
            break
    return low, high


def _first_prices(cells: Cells, k: int) -> FloatArray:
    """A price for each row that gives about `k` runs, `[rows]`.

    Where values are dense, the cubic root of `count * width²` adds up to the same in each of the best runs; if to S in
    all, k of them lose `S³ / (12k²)`, and one more or less is worth `S³ / (6k³)`. Source: Panter and Dite,
    "Quantization distortion in pulse-count modulation with nonuniform spacing" (1951). A gap that alone has more than
    its share will be between two runs, so neither it nor one of the runs counts; that is looked at twice.
    """
    counts = np.diff(cells.counts, axis=1)
    means = np.diff(cells.sums, axis=1)
    means /= np.maximum(counts, 1)
    shares = np.diff(means, axis=1)
    np.multiply(shares, shares, out=shares)
    shares *= counts[:, 1:] + counts[:, :-1]
    shares *= counts[:, 1:] > 0  # no gap where a row has ended
    np.cbrt(shares, out=shares)
    total, left = shares.sum(axis=1), np.full(len(shares), k)
    for _ in range(2):
        gaps = shares > (total / left)[:, np.newaxis]
        total = np.sum(shares, axis=1, where=~gaps)
        left = np.maximum(k - np.count_nonzero(gaps, axis=1), 1)
    return np.asarray(np.maximum(_FIRST / 12 * (total / left) ** 3, np.finfo(np.float64).tiny))


def _priced(cells: Cells, sizes: IntArray, price: FloatArray, on_grid: bool) -> IntArray:
    """Where the last run up to each end starts, `[cells + 1, rows]`, if each run costs its row's `price` `[rows]`.

    Rows come last, since slabs of many of them are added as they lie in memory.
    """
    rows, width = cells.counts.shape
    # So that no run has a count of 0, cells behind a row's end count as values; nothing there is used.
    behind = np.maximum(np.arange(width) - sizes[:, np.newaxis], 0)
    counts, sums = np.ascontiguousarray((cells.counts + behind).T), np.ascontiguousarray(cells.sums.T)
    best = np.zeros((width, rows))
    starts = np.zeros((width, rows), dtype=np.intp)
    lowest = np.zeros((width, 1), dtype=np.intp)
    room = np.empty((2, width, rows))
    low = 0
    for end in range(1, width):
        run_sums = np.subtract(sums[end], sums[low:end], out=room[0, : end - low])
        run_counts = np.subtract(counts[end], counts[low:end], out=room[1, : end - low])
        gains = overwritten_with_gains(run_sums, run_counts, on_grid)
        gains += best[low:end]
        start = np.argmax(gains, axis=0, out=starts[end])
        np.maximum.reduce(gains, axis=0, out=best[end])
        best[end] -= price
        lowest[end] = low
        low += int(start.min())
    starts += lowest
    return starts


def _path(starts: IntArray, sizes: IntArray) -> IntArray:
    """The ends of the runs from the last one at `sizes` `[rows]` down to 0, which each row repeats: `[ends, rows]`."""
    rows = len(sizes)
    every = np.arange(rows)
    flat = starts.reshape(-1)
    ends = [sizes]
    while ends[-1].any():
        ends.append(flat.take(ends[-1] * rows + every))
    return np.stack(ends)


def _interleaved(path: IntArray, found: IntArray, k: int) -> tuple[IntArray, IntArray]:
    """The bounds of `_windows` that follow from the best `found` `[rows]` runs, with the ends `path` (see `_path`).

    Let d be `found - k`. The end of the best first j runs is at most that of the first j found if there are too few,
    and at least that if there are too many. The same holds for the last `k - j` runs the other way, so the other bound
    is the end of the first `j + d` found.
    """
    rows = len(found)
    every = np.arange(rows)
    ends = np.arange(k + 1)[:, np.newaxis]
    more = found - k
    flat = path.reshape(-1)
    low, high = (
        flat.take((found - np.clip(ends + shift, 0, found)) * rows + every)
        for shift in (np.minimum(more, 0), np.maximum(more, 0))
    )
    high[0] = 0
    low[k] = path[0]
    return low.T, high.T


def _window_chunks(rows: IntArray, widest: IntArray) -> Iterator[IntArray]:
    """The rows, which come by their `widest` windows, in chunks of which no slab takes much memory."""
    start = 0
    while start < len(rows):
        width = int(widest[rows[start]]) + 1
        chunk = rows[start : start + max(1, min(_ROWS, _PAIRS // width**2))]
        start += len(chunk)
        yield chunk


def _between(cells: Cells, rows: IntArray, low: IntArray, high: IntArray, on_grid: bool) -> IntArray:
    """The ends of the best runs of which each lies from `low` to `high`, `[rows, k + 1]` as they; none is empty."""
    k = low.shape[1] - 1
    first = rows * cells.counts.shape[1]
    places: list[IntArray] = []
    for bottom, top in zip(low.T, high.T, strict=True):
        offered = np.arange(int((top - bottom).max()) + 1)[:, np.newaxis]
        places.append(np.minimum(bottom + offered, top))  # some of them twice
    counts, sums = ([each.reshape(-1).take(place + first) for place in places] for each in (cells.counts, cells.sums))
    best = [np.zeros((1, len(rows)))]
    for j in range(1, k + 1):
        last = _last_runs(
            sums[j][:, np.newaxis] - sums[j - 1], counts[j][:, np.newaxis] - counts[j - 1], best[-1], on_grid
        )
        best.append(last.max(axis=1))
    every = np.arange(len(rows))
    at = np.zeros(len(rows), dtype=np.intp)
    edges = np.empty(low.shape, dtype=np.intp)
    edges[:, k] = places[k][0]
    for j in range(k, 0, -1):
        last = _last_runs(sums[j][at, every] - sums[j - 1], counts[j][at, every] - counts[j - 1], best[j - 1], on_grid)
        at = last.argmax(axis=0)
        edges[:, j - 1] = places[j - 1][at, every]
    return edges


def _last_runs(sums: FloatArray, counts: FloatArray, before: FloatArray, on_grid: bool) -> FloatArray:
    """The gains of last runs, and of those `before` them, in the place of `sums` or `counts`; -inf if one is empty."""
    empty = counts <= 0
    counts[empty] = 1
    gains = overwritten_with_gains(sums, counts, on_grid)
    gains += before
    gains[empty] = -np.inf
    return gains
