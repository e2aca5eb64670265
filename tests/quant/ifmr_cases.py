"""The recorded IFMR cases, and the recorded error formula for checking a scale from elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.quant.ifmr import Candidates, IfmrResult, IfmrSettings, make_candidates, measure_losses
from tests.shared_files import GOLDEN

ALGO = GOLDEN / "amct_pytorch" / "algo"


@dataclass(frozen=True)
class Case:
    row: dict[str, Any]
    data: NDArray[np.float32]

    @property
    def settings(self) -> IfmrSettings:
        row, plain = self.row, IfmrSettings()
        return IfmrSettings(
            bits=row["num_bits"],
            with_offset=row["with_offset"],
            max_percentile=row.get("max_percentile", plain.max_percentile),
            min_percentile=row.get("min_percentile", plain.min_percentile),
            search_range=(
                row.get("search_start", plain.search_range[0]),
                row.get("search_end", plain.search_range[1]),
            ),
            search_step=row.get("search_step", plain.search_step),
        )


def recorded_cases() -> list[Case]:
    inputs = np.load(ALGO / "algo_inputs.npz", allow_pickle=False)
    rows: list[dict[str, Any]] = json.loads((ALGO / "ifmr.json").read_text())
    return [Case(row, inputs[row["input"]].reshape(-1)) for row in rows]


def loss_of(result: IfmrResult, options: IfmrSettings, data: NDArray[np.float32]) -> float:
    """Mean squared error on all of `data` of the candidate that a search chose."""
    tried = make_candidates(options, np.float32(result.init_min), np.float32(result.init_max))
    chosen = slice(result.index, result.index + 1)
    return float(measure_losses(data, Candidates(tried.scales[chosen], tried.lows[chosen], tried.highs[chosen]))[0])
