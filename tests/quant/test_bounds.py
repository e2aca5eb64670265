"""Values that cannot pass a bound: observers see the same, and still find NaN and Inf."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer_state import to_bytes
from amctc.quant.observers import MERGING, merging_observer

CASES = {
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "between": (-1.0, 1.0),
}


def batches(low: float, high: float, seed: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [
        np.clip(rng.normal(size=(2, 7, 50, 60)) * (1 + number), low, high).astype(np.float32) for number in range(5)
    ]


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("case", CASES)
def test_bounds_change_nothing_that_is_seen(kind: str, case: str) -> None:
    bounds = CASES[case]
    told = merging_observer(kind, IfmrSettings(), "layer", 4096, bounds)
    plain = merging_observer(kind, IfmrSettings(), "layer", 4096)
    for batch in batches(*bounds, seed=3):
        told.update(batch)
        plain.update(batch)
    assert to_bytes(told) == to_bytes(plain)  # type: ignore[arg-type]  # all that merge have a state
    assert told.finish() == plain.finish()


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES)
def test_nan_and_inf_are_found_when_both_ends_are_full(kind: str, bad: float, case: str) -> None:
    observer = merging_observer(kind, IfmrSettings(), "layer", 4096, CASES[case])
    first, second, *_ = batches(*CASES[case], seed=4)
    observer.update(first)
    second[1, 6, 49, 59] = bad
    with pytest.raises(DiagnosticError, match="AM404"):
        observer.update(second)
