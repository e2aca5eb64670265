"""The recorded cases of retraining: outputs and gradients of AMCT's functions, see the README beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tests.shared_files import GOLDEN

ALGO = GOLDEN / "amct_pytorch" / "algo"
Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]
Case: TypeAlias = dict[str, Any]

SLIP = (-1.0, 1.0, False)
"""Clips in the wrong order: AMCT's Python form takes an end of before for one of them, and keeps the other at 1."""

NO_RANGE = (1.0, 1.0, False)
"""Clips without a width: those of before are taken, and AMCT breaks off where there are none."""


def recorded(name: str) -> tuple[list[Case], Arrays]:
    """The cases of `NAME.json` and the arrays of `NAME_arrays.npz`."""
    rows: list[Case] = json.loads((ALGO / f"{name}.json").read_text())
    with np.load(ALGO / f"{name}_arrays.npz", allow_pickle=False) as arrays:
        return rows, dict(arrays)


def clips_of(case: Case) -> tuple[float, float, bool]:
    """clip_max, clip_min, fixed_min."""
    return case["clip_max"], case["clip_min"], case["fixed_min"]


def same_sum(found: float, wanted: float, terms: NDArray[np.float32]) -> bool:
    """Whether two float32 sums differ by no more than another order of their terms can make: 1e-6 of the sizes."""
    return abs(float(found) - wanted) <= 1e-6 * max(float(np.abs(terms).sum()), 1e-30)
