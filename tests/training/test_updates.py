"""The updates of each solver: on one weight against real Caffe, and the parts against their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from amctc.diagnostics import Collector
from amctc.training.solver_file import SolverFile, read_solver_file
from amctc.training.updates import HISTORIES, UpdateRule, clip_factor, float32, regularize
from tests.shared_files import GOLDEN, needs_golden
from tests.training.test_learning_rate import CASES, RATES

SOLVERS = [name.removeprefix("scalar_") for name in CASES if name.startswith("scalar_")]
TOLERANCE = 1e-7
"""Of the largest weight, 2: a unit in the last place. On the machine that wrote this all are equal."""


def descent(file: SolverFile, iterations: int) -> list[float]:
    """One weight, from 2 on, with the loss (w - 1)² / 2."""
    rule, step = UpdateRule.of(file), 0
    weight = torch.tensor([2.0])
    history = [torch.zeros(1) for _ in range(HISTORIES[file.type])]
    found = [2.0]
    for iteration in range(iterations):
        gradient = torch.zeros(1)
        for _ in range(file.iter_size):
            gradient += weight - 1
        gradient *= clip_factor([gradient], file.clip_gradients)[1]
        gradient *= float32(1 / file.iter_size)
        regularize(gradient, weight, float32(file.weight_decay), file.regularization)
        step = file.rate.step_at(iteration, step)
        weight = weight - rule.step(gradient, history, float(file.rate.rate(iteration, step)), iteration)
        found.append(weight.item())
    return found


@needs_golden
@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_moves_one_weight_as_caffe_does(name: str) -> None:
    recorded = json.loads((GOLDEN / "caffe/lr/solvers.json").read_text())[name]["w"]
    file = read_solver_file(RATES / f"scalar_{name}.solver.prototxt", Collector())
    found = descent(file, len(recorded) - 1)
    assert np.abs(np.array(found) - recorded).max() <= 2 * TOLERANCE


@needs_golden
def test_every_solver_was_recorded() -> None:
    files = [read_solver_file(RATES / f"scalar_{name}.solver.prototxt", Collector()) for name in SOLVERS]
    assert len(SOLVERS) == 18 and {file.type for file in files} == set(HISTORIES)


def test_gradients_are_clipped_by_their_norm_over_all_weights() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert clip_factor(gradients, 2.5) == (5.0, 0.5)
    assert clip_factor(gradients, 5.0) == (5.0, 1.0)
    assert clip_factor(gradients, -1.0) == (0.0, 1.0)


def test_a_norm_of_nothing_or_of_nan_clips_nothing() -> None:
    assert clip_factor([], 1.0) == (0.0, 1.0)
    assert clip_factor([torch.tensor([np.nan])], 1.0)[1] == 1.0


def test_decay_adds_the_weight_or_its_sign() -> None:
    weight = torch.tensor([2.0, -4.0, 0.0])
    for kind, expected in (("L2", [1.0, -2.0, 0.0]), ("L1", [0.5, -0.5, 0.0])):
        gradient = torch.zeros(3)
        regularize(gradient, weight, 0.5, "L1" if kind == "L1" else "L2")
        assert gradient.tolist() == expected
    gradient = torch.zeros(3)
    regularize(gradient, torch.tensor([np.inf, 1.0, 1.0]), 0.0, "L2")
    assert gradient.tolist() == [0.0, 0.0, 0.0]
