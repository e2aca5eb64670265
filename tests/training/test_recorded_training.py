"""Four steps of quantization-aware training are those that were recorded of AMCT, where both define the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from amctc.quant.trained_weights import usable_scale
from tests.shared_files import needs_golden
from tests.training.digits_cnn import FOLDER, begun, recorded_training

pytestmark = pytest.mark.torch

RATE = 0.01
SHIFTED = "conv1.quant_module.replaced_module.bias"
"""A bias that BatchNorm takes away again: its gradient is 0 but for the last digits."""

SCALES = "conv1.quant_module.wts_scales"
CLIPS = ("acts_clip_max", "acts_clip_min")

CASES = {"qat_default": 2e-5, "qat_arq_pertensor": 2e-5, "qat_ulq_wts": 2e-5, "qat_a8w4": 2e-5, "qat_int16": 1e-3}
"""The cases, and how much outputs of up to 16 may differ.

With 16 bits the recorded program adds the offset before it rounds, which in float32 takes other integers: a step of
the grid is 1e-4 of the output, and the gradients of clips, residues of rounding, are others then.
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The network is so small that threads cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def close(found: Tensor | None, wanted: NDArray[np.float32], part: float) -> bool:
    """Whether nothing differs by more than a part of the largest number; or by 1e-7, which is 0 here."""
    assert found is not None
    difference = float(np.abs(found.detach().numpy() - wanted).max())
    return difference <= part * float(np.abs(wanted).max()) + 1e-7


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_four_steps_are_the_recorded_ones(case: str) -> None:
    config, arrays, labels = recorded_training(case)
    network = begun(config, arrays)
    with np.load(FOLDER / "models" / "digits_io.npz", allow_pickle=False) as data:
        batches = data["calib"]
    compared = 0
    for step in range(4):
        out = network.run(torch.from_numpy(batches[step]))
        assert np.abs(out.detach().numpy() - arrays[f"step{step}/out"]).max() <= CASES[case]
        cross_entropy(out, torch.tensor(labels[step])).backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        for name, parameter in network.parameters():
            wanted = arrays.get(f"step{step}/grad/{name}")
            is_clip = name.endswith(CLIPS)
            if is_clip and step + 1 < config["batch_num"]:
                assert parameter.grad is None  # ours begin to learn when they are set, the recorded ones before it
            elif name == SHIFTED:
                assert parameter.grad is not None and parameter.grad.abs().max() < 1e-5
            elif wanted is not None and not (is_clip and case == "qat_int16"):
                assert close(parameter.grad, wanted, 1e-2 if is_clip else 4e-4), f"{name}, step {step}"
                compared += 1
            if parameter.grad is not None:
                with torch.no_grad():
                    parameter.sub_(RATE * parameter.grad)
                parameter.grad = None
        for name, parameter in network.parameters():
            wanted = arrays.get(f"step{step}/{name}")
            if wanted is not None and not (name.endswith(CLIPS) and step + 1 < config["batch_num"]):
                assert close(parameter.reshape(wanted.shape), wanted, 1e-5), f"{name}, step {step}"
    assert compared >= 28


@needs_golden
def test_a_learned_scale_that_a_step_takes_below_zero_is_in_the_recording() -> None:
    """Why the recorded network with learned scales is so poor: we take the scale of before in its place."""
    after, before = (recorded_training("qat_ulq_wts")[1][f"step{step}/{SCALES}"] for step in (3, 2))
    assert (after < 0).tolist() == [False, False, False, True, False, False, False, False]
    assert usable_scale(after, before).tolist() == np.where(after < 0, before, after).tolist()
