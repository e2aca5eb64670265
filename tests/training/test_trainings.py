"""The 36 trainings that real Caffe recorded: losses, rates, and weights after 1, 2, 5 and 20 iterations."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import Collector
from amctc.training.fed_net import FedNet
from amctc.training.network import ForwardResult
from amctc.training.solver import Solver
from amctc.training.solver_file import read_solver_file
from tests.shared_files import GOLDEN, needs_golden

TRAIN = GOLDEN / "caffe/train"
CASES = sorted(path.name.removesuffix(".solver.prototxt") for path in TRAIN.glob("*.solver.prototxt"))

LOSS = 5e-7
"""Of the largest loss."""
WEIGHTS = {1: 5e-6, 2: 3e-6, 5: 3e-6, 20: 1e-5}
"""Of a blob's largest number, by iteration. The first steps of AdaDelta and Adam divide by gradients near zero."""


class Watched(FedNet):
    """Remembers the loss of every pass."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.losses: list[float] = []

    def forward(self, blobs: Collection[str] = ()) -> ForwardResult:
        result = super().forward(blobs)
        self.losses.append(result.loss.item())
        return result


def recorded(name: str) -> dict[str, NDArray[np.float32]]:
    with np.load(TRAIN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def solver_of(name: str) -> Solver:
    with np.load(TRAIN / "batches.npz") as arrays:
        data = {"data": {key: arrays[key] for key in arrays.files}}
    file = read_solver_file(TRAIN / f"{name}.solver.prototxt", Collector())
    weights = TRAIN / f"{name.partition('__')[0]}.init.caffemodel"
    return Solver(file, weights=[weights], data=data, net_class=Watched)


def off(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference over the largest magnitude."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


@needs_golden
@pytest.mark.parametrize("name", CASES)
def test_a_training_is_caffes(name: str) -> None:
    expected, solver = recorded(name), solver_of(name)
    rates = []
    for iteration in range(1, 21):
        solver.step(1)
        rates.append(float(solver.rate))
        if iteration in WEIGHTS:
            weights = {layer: list(roles.values()) for layer, roles in solver.net.network.weights().items()}
            prefix = f"after{iteration}/"
            for key in (key for key in expected if key.startswith(prefix)):
                layer, _, index = key.removeprefix(prefix).rpartition("/")
                assert off(weights[layer][int(index)], expected[key]) <= WEIGHTS[iteration], key
    assert isinstance(solver.net, Watched)
    assert off(np.array(solver.net.losses, np.float32), expected["loss_per_forward"].astype(np.float32)) <= LOSS
    assert np.array_equal(np.array(rates, np.float32), expected["lr"].astype(np.float32))


@needs_golden
def test_all_trainings_were_recorded() -> None:
    assert len(CASES) == 36
