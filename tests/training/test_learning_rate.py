"""Learning rates against those that real Caffe recorded, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from amctc.diagnostics import Collector
from amctc.training.learning_rate import LearningRate, adam_correction
from amctc.training.solver_file import read_solver_file
from tests.shared_files import GOLDEN, needs_golden

RATES = GOLDEN / "caffe/lr"
CASES = sorted(path.name.removesuffix(".solver.prototxt") for path in RATES.glob("*.solver.prototxt"))
POLICIES = [name for name in CASES if not name.startswith("scalar_")]


def rates(rule: LearningRate, count: int) -> list[np.float32]:
    step, found = 0, []
    for iteration in range(count):
        step = rule.step_at(iteration, step)
        found.append(rule.rate(iteration, step))
    return found


@needs_golden
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_gives_caffes_rates_to_the_last_bit(name: str) -> None:
    recorded = np.array(json.loads((RATES / "lr.json").read_text())[name], np.float32)
    rule = read_solver_file(RATES / f"{name}.solver.prototxt", Collector()).rate
    assert np.array_equal(np.array(rates(rule, len(recorded))), recorded)


@needs_golden
def test_every_policy_was_recorded() -> None:
    assert len(POLICIES) == 10


def test_multistep_makes_one_step_at_most_in_an_iteration() -> None:
    rule = LearningRate("multistep", 1.0, gamma=0.5, stepvalues=(3, 3, 3))
    assert rates(rule, 8) == [1, 1, 1, 0.5, 0.25, 0.125, 0.125, 0.125]


def test_a_rate_that_overflows_is_infinite_and_not_an_error() -> None:
    assert LearningRate("exp", 1.0, gamma=1e30).rate(1000, 0) == np.inf
    assert np.isnan(LearningRate("poly", 1.0, power=1.0).rate(0, 0))


def test_the_correction_of_adam_tends_to_one_and_knows_momenta_of_one() -> None:
    assert adam_correction(0.9, 0.999, 0) == pytest.approx(np.sqrt(0.001) / 0.1, rel=1e-4)
    assert adam_correction(0.9, 0.999, 100_000) == 1
    assert adam_correction(1.0, 0.999, 0) == np.inf
