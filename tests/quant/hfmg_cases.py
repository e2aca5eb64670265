"""The recorded HFMG cases, and HFMG once more: slow, bin by bin and range by range, as the facts put it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.quant.hfmg import HfmgSettings
from tests.shared_files import GOLDEN

ALGO = GOLDEN / "amct_pytorch" / "algo"
EPSILON = 1.192092896e-7

Float = np.float32
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    row: dict[str, Any]
    data: FloatArray

    @property
    def settings(self) -> HfmgSettings:
        return HfmgSettings(self.row["num_bits"], self.row["with_offset"], self.row["num_of_bins"])

    @property
    def batches(self) -> list[FloatArray]:
        count: int = self.row["batch_num"]
        return [self.data] if count == 1 else [self.data[2 * i : 2 * i + 2] for i in range(count)]


def recorded_cases() -> list[Case]:
    inputs = np.load(ALGO / "algo_inputs.npz", allow_pickle=False)
    rows: list[dict[str, Any]] = json.loads((ALGO / "hfmg.json").read_text())
    return [Case(row, inputs[row["input"]]) for row in rows]


class SlowHistogram:
    """One value and one bin at a time, in float32."""

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.low, self.high = Float(0), Float(0)
        self.counts: list[int] | None = None

    def add(self, values: FloatArray) -> None:
        low, high = values.min(), values.max()
        if self.counts is not None:
            low, high = min(low, self.low), max(high, self.high)
        new = [0] * self.bins
        for x in values:
            number = int((x - low) * Float(self.bins) / (high - low)) if high > low else self.bins // 2
            new[min(number, self.bins - 1)] += 1
        if self.counts is not None:
            self._pour(new, low, high)
        self.low, self.high, self.counts = low, high, new

    def _pour(self, new: list[int], low: Float, high: Float) -> None:
        assert self.counts is not None
        if abs(float(low) - float(self.low)) <= EPSILON and abs(float(high) - float(self.high)) <= EPSILON:
            for i, count in enumerate(self.counts):
                new[i] += count
            return
        old_width = (self.high - self.low) / Float(self.bins)
        width = (high - low) / Float(self.bins)
        for i, count in enumerate(self.counts):
            start, end = self.low + Float(i) * old_width, self.low + Float(i + 1) * old_width
            first = min(int((start - low) // width), self.bins - 1)
            last = min(int((end - low) // width), self.bins - 1)
            kept = count
            if first != last:
                part = ((low + Float(first + 1) * width) - start) / (end - start)
                kept = min(max(int(Float(count) * part), 0), count)
            new[first] += kept
            new[last] += count - kept


def slow_ranges(counts: list[int]) -> list[tuple[int, int]]:
    left, right = 0, len(counts) - 1
    step = max(math.ceil(sum(counts) / 100000), 1)
    found: list[tuple[int, int]] = []
    while right - left > math.ceil(len(counts) / 4):
        next_left, shed = left, 0
        while next_left < right and shed < step:
            shed += counts[next_left]
            next_left += 1
        next_right, shed = right, 0
        while next_right > next_left and shed < step:
            shed += counts[next_right]
            next_right -= 1
        if right - next_right >= next_left - left:
            right = next_right
        else:
            left = next_left
        found.append((left, right))
    return found


def slow_error(counts: list[int], left: int, right: int, cells: int) -> float:
    """The squared error of one range, in widths of a bin: an integral for each cell that a bin overlaps."""
    width = (right - left + 1) / cells
    error = 0.0
    for i, count in enumerate(counts):
        if not count:
            continue
        cell = min(max(math.floor((i - left) / width), 0), cells - 1)
        start = float(i)
        while start < i + 1:
            end = i + 1.0 if cell == cells - 1 else min(i + 1.0, left + (cell + 1) * width)
            if end > start:
                centre = left + (cell + 0.5) * width
                error += count * ((end - centre) ** 3 - (start - centre) ** 3) / 3
                start = end
            cell += 1
    return error
