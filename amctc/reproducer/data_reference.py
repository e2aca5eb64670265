"""Where the calibration data of a run lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataReference:
    """Calibration data by their place, where they are too large for a copy: a path, and how samples are prepared
    and chosen."""

    data: str
    preprocess: str | None = None
    batch_size: int = 1
    max_samples: int | None = None
    sample_seed: int | None = None
