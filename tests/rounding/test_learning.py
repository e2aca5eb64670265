"""Learning the rounding of one layer: the formulas in torch, the optimizer, and small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from amctc.quant import adaround
from amctc.quant.adaround import AdaRoundSettings, first_alpha
from amctc.quant.arq import quantize_weights
from amctc.rounding.learning import Adam, FloatLayer, Learning, indecision, soft_rounding
from amctc.rounding.product import Product

HOW = Learning(30.0, 16, 0)


def matrix(
    weights: NDArray[np.float32], scale: NDArray[np.float32], bits: int = 8, bias: NDArray[np.float32] | None = None
) -> FloatLayer:
    """Rows times a matrix [Cout, Cin]."""
    product = Product((1, weights.shape[1]), (1, weights.shape[0]), 1, 1, None, False)
    return FloatLayer("fc", product, weights[np.newaxis, :, :, np.newaxis], scale, bits, bias, None)


def test_the_formulas_are_those_in_numpy() -> None:
    alpha = np.linspace(-6, 6, 41, dtype=np.float32)
    h = soft_rounding(torch.from_numpy(alpha))
    np.testing.assert_allclose(h.numpy(), adaround.soft_rounding(alpha), atol=1e-6)
    for beta in (20.0, 2.0, 0.5):
        expected = adaround.indecision(adaround.soft_rounding(alpha), beta)
        np.testing.assert_allclose(float(indecision(h, beta)), expected, rtol=1e-3)


def test_gradients_are_those_of_differences() -> None:
    alpha = first_alpha(np.array([0.1, 0.3, 0.6, 0.95], np.float32)).astype(np.float64)
    leaf = torch.from_numpy(alpha).requires_grad_()
    (found,) = torch.autograd.grad(indecision(soft_rounding(leaf), 3.0), leaf)
    small = 1e-4
    for place, shift in enumerate(np.eye(4) * small):
        above, below = (
            adaround.indecision(np.clip(1.2 / (1 + np.exp(-(alpha + sign * shift))) - 0.1, 0, 1).astype(np.float32), 3)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(float(found[place]), (above - below) / (2 * small), atol=5e-3)


def test_a_rounding_that_is_settled_has_finite_gradients() -> None:
    leaf = torch.tensor([0.0, 30.0, -30.0], requires_grad=True)
    (found,) = torch.autograd.grad(indecision(soft_rounding(leaf), 0.5), leaf)
    assert torch.isfinite(found).all()


def test_adam_goes_the_steps_of_its_paper() -> None:
    # Algorithm 1 of the paper, in float64; not torch's own, which takes long to import.
    start = np.array([1.0, -2.0, 3.0])
    wanted, mean, square = start.copy(), np.zeros(3), np.zeros(3)
    found = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    adam = Adam(found, 0.1)
    for number in range(1, 21):
        gradient = np.array([1.0, number - 10.0, 0.01 * number**2])
        adam.step(torch.tensor(gradient, dtype=torch.float32))
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        wanted -= 0.1 * (mean / (1 - 0.9**number)) / (np.sqrt(square / (1 - 0.999**number)) + 1e-8)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-5)
    assert np.abs(wanted - start).min() > 0.5


def test_two_weights_of_one_input_share_what_is_lost() -> None:
    # 0.35 + 0.46 on whole numbers: the nearest make 0, and one of them up makes 1, which is nearer to 0.81
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 1, 1)).astype(np.float32)).expand(64, 1, 2)
    layer = matrix(np.array([[0.35, 0.46]], np.float32), np.ones(1, np.float32))
    found = layer.learn(x, x.sum(2, keepdim=True) * 0.405, AdaRoundSettings(200), HOW)
    assert found.values.reshape(-1).tolist() == [0, 1]
    assert found.error < found.nearest_error / 10


def test_the_nearest_stay_where_nothing_is_better() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 1, 3)).astype(np.float32))
    layer = matrix(np.array([[0.4, 1.3, -2.6]], np.float32), np.ones(1, np.float32))
    nearest = np.array([[[[0], [1], [-3]]]], np.int8)
    # in few wild steps away from what it begins with
    found = layer.learn(x, layer.output(x, nearest), AdaRoundSettings(3), Learning(1000, 2, 0))
    assert np.array_equal(found.values, nearest)
    assert found.error == found.nearest_error == 0


def test_what_is_learned_is_the_same_again_and_another_with_another_seed() -> None:
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(6, 20)).astype(np.float32)
    grid = quantize_weights(weights, axis=0, bits=4)
    bias = rng.normal(size=6).astype(np.float32)
    layer = matrix(weights, grid.params.scale, 4, bias)
    x = torch.from_numpy(rng.normal(size=(96, 1, 20)).astype(np.float32))
    y = layer.product(x, torch.from_numpy(layer.parts), torch.from_numpy(bias))
    told: list[int] = []
    first, again, other = (
        layer.learn(x, y, AdaRoundSettings(60), Learning(30, 16, seed), told.append) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.values, again.values) and first.error == again.error
    assert not np.array_equal(first.values, other.values)
    assert told == [*range(1, 61)] * 3
    assert np.abs(first.values - weights.reshape(first.values.shape) / layer.scales).max() < 1
    assert (first.values.min(), first.values.max()) >= (-8, 7) and first.values.max() <= 7
