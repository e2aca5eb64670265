"""The batches that a calibration goes through, from any of them on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from amctc.runtime.datasets import Dataset
from amctc.runtime.iterables import IterableSource
from amctc.runtime.samples import Batch


@dataclass(frozen=True)
class CalibrationData:
    """`batch_num` whole batches of `batch_size` samples; all that there are, where `batch_num` is None."""

    dataset: Dataset
    batch_size: int
    batch_num: int | None

    @property
    def is_iterable(self) -> bool:
        """Whether the samples can be read from the first on alone, and nothing tells them from others."""
        return isinstance(self.dataset.source, IterableSource)

    def batches(self) -> Generator[Batch]:
        """All of them, see `Dataset.batches`.

        Data of unknown length tell only when they end that they were too few (AM403), if a number of batches is wanted.
        """
        return self.dataset.batches(self.batch_size, limit=self.batch_num, exact=self.batch_num is not None)

    def stretch(self, start: int, stop: int) -> Generator[Batch]:
        """Those from `start` up to `stop` (excluded). What is before is passed over, and not decoded."""
        if start == 0 and stop == self.batch_num:
            return self.batches()
        return self.dataset.select(start * self.batch_size, stop * self.batch_size).batches(self.batch_size)
