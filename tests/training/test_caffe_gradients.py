"""Blobs, gradients and moved statistics of training against the real Caffe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from amctc.training.network import ForwardResult, Network
from tests.runtime.caffe_cases import CaffeCase, caffe_cases, forward_cases
from tests.runtime.caffe_passes import Compared, load_case
from tests.shared_files import needs_golden

TOLERANCE = 2e-6
"""Of an array's largest magnitude, as the record of the figures asks of float32; the worst case has 6.3e-7."""

GRADIENTS = [case for case in caffe_cases() if case.gradients]
FORWARD = [case for case in forward_cases() if case.base.parent.name == "layers" and not case.gradients]
"""Layers that have no gradient, and passes one behind the other, in which statistics and states go on."""


@needs_golden
def test_no_case_with_gradients_is_left_out() -> None:
    assert len(GRADIENTS) == 336
    assert len(FORWARD) == 70


@needs_golden
@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_blobs_and_gradients_equal_caffes(case: CaffeCase) -> None:
    network = Network(load_case(case), phase=case.phase, force_backward=True)
    recorded = case.recorded(0)
    with np.load(case.base.parent / f"{case.base.name}.grad.npz") as arrays:
        gradients = {name: arrays[name] for name in arrays.files}
    blobs = _under(recorded, "blob")
    result = network.forward(_under(recorded, "in"), blobs=blobs)
    network.backward(_under(gradients, "top_diff"))
    for compared in (
        *_values(result, blobs),
        *_weights_after(network, recorded),
        *_gradients(network, result, gradients),
    ):
        assert compared.difference <= TOLERANCE, compared.name


@needs_golden
@pytest.mark.parametrize("case", FORWARD, ids=str)
def test_every_other_pass_equals_caffes(case: CaffeCase) -> None:
    graph = load_case(case)
    network = Network(graph, phase=case.phase)
    for step in range(case.steps):
        recorded = case.recorded(step)
        blobs = _under(recorded, "blob")
        result = network.forward(_under(recorded, "in"), blobs=blobs)
        for compared in (*_values(result, blobs), *_weights_after(network, recorded)):
            assert compared.difference <= TOLERANCE, (step, compared.name)


def _under(recorded: Mapping[str, NDArray[np.float32]], key: str) -> dict[str, NDArray[np.float32]]:
    return {name.removeprefix(f"{key}/"): array for name, array in recorded.items() if name.startswith(f"{key}/")}


def _values(result: ForwardResult, blobs: Mapping[str, NDArray[np.float32]]) -> Iterator[Compared]:
    for name, expected in blobs.items():
        yield Compared(name, "blob", result.blobs[name].detach().numpy(), expected)


def _weights_after(network: Network, recorded: Mapping[str, NDArray[np.float32]]) -> Iterator[Compared]:
    weights = network.weights()
    for name, expected in _under(recorded, "param_after").items():
        layer, _, index = name.rpartition("/")
        yield Compared(name, "moved", list(weights[layer].values())[int(index)], expected)


def _gradients(
    network: Network, result: ForwardResult, gradients: Mapping[str, NDArray[np.float32]]
) -> Iterator[Compared]:
    for name, expected in _under(gradients, "diff").items():
        yield Compared(f"diff/{name}", "input", _gradient(result.inputs[name]), expected)
    for name, expected in _under(gradients, "param_diff").items():
        layer, _, index = name.rpartition("/")
        weight = list(network.table.weights[layer].values())[int(index)]
        yield Compared(f"param_diff/{name}", "weight", _gradient(weight.tensor).reshape(weight.shape), expected)


def _gradient(tensor: torch.Tensor) -> NDArray[np.float32]:
    """The gradient; zeros where none has come, as Caffe leaves them."""
    found: NDArray[np.float32] = (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).numpy()
    return found
