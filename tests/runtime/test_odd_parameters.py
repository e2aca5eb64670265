"""Parameters that Caffe takes and hardly anybody gives: computed as the formula says, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.runtime.executor import run_graph
from tests.runtime.nets import one_layer, random


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.75), (0.5, 0.0), (0.5, -1.5), (0.0, 0.75), (-0.125, 1.0)])
def test_an_lrn_across_channels_takes_any_alpha_and_beta(alpha: float, beta: float) -> None:
    parameter = {"lrn_param": {"local_size": 3, "alpha": alpha, "beta": beta, "k": 2.0}}
    x = random((2, 5, 3, 4))
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    sums = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    found = run_graph(one_layer("LRN", x.shape, parameter), {"data": x})["out"]
    np.testing.assert_allclose(found, x * (2 + alpha / 3 * sums) ** -beta, rtol=2e-6)
