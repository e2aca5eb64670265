"""The wrapper of a layer in training: what it computes, and what of it learns."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amctc.dialects.channels import by_channels_transposed
from amctc.dialects.retrain import TrainedWeights
from amctc.modules.learned_scale import LearnedScale
from amctc.modules.retrain_record import retrain_record
from amctc.modules.trained_layer import QuantizedLayer, RetrainLayer
from amctc.policy.resolve_training import TrainedData, TrainedLayer
from amctc.quant.grid import fake_quantize
from amctc.quant.trained_weights import arq_trained, first_scale, ulq_trained
from amctc.quant.ulq import Clips, grid_of_clips

pytestmark = pytest.mark.torch

CLIPS = Clips(1.5, -0.75)
SAID = TrainedData(CLIPS.high, CLIPS.low, fixed_min=False)

LAYERS = [
    (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 7)),
    (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 5, 5)),
    (nn.Conv3d(2, 3, 2, bias=False), (1, 2, 4, 4, 4)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (2, 4, 3, 3)),
    (nn.Linear(5, 3), (2, 4, 5)),
]


def noise(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rows_of(layer: nn.Module, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights [channels, values] of one output channel after the other."""
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        parts = by_channels_transposed(weight, layer.groups)
        return parts.reshape(parts.shape[0] * parts.shape[1], -1).astype(np.float32)
    return weight.reshape(len(weight), -1)


def as_weight(layer: nn.Module, rows: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of `rows_of`."""
    found = np.empty_like(like)
    places = np.arange(like.size, dtype=np.float32).reshape(like.shape)
    found.reshape(-1)[rows_of(layer, places).astype(np.int64).reshape(-1)] = rows.reshape(-1)
    return found


def wrapper(layer: nn.Module, weights: TrainedWeights, data: TrainedData = SAID, batch_num: int = 1) -> QuantizedLayer:
    return QuantizedLayer(layer, TrainedLayer(data, weights), batch_num, "layer")


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("learned", [False, True])
def test_it_computes_with_quantized_data_and_weights(
    layer: nn.Module, shape: tuple[int, ...], bits: int, learned: bool
) -> None:
    layer, x = copy.deepcopy(layer), noise(*shape)
    weight = layer.get_parameter("weight").detach().numpy().copy()
    made = wrapper(layer, TrainedWeights(not isinstance(layer, nn.Linear), bits, learned))
    found = made(torch.from_numpy(x))
    found.sum().backward()
    assert all(each.grad is not None for each in made.parameters())
    wise = made.how.channel_wise
    rows = rows_of(layer, weight)
    scale = first_scale(rows, channel_wise=wise, bits=bits)
    assert np.array_equal(made.weight_scales(), scale)
    wanted = ulq_trained(rows, scale, bits) if learned else arq_trained(rows, channel_wise=wise, bits=bits)
    grid = grid_of_clips(CLIPS, 8)
    with torch.no_grad():
        layer.get_parameter("weight").copy_(torch.from_numpy(as_weight(layer, wanted, weight)))
        expected = layer(torch.from_numpy(fake_quantize(x, grid.scale, grid.offset, 8)))
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_arguments_of_the_layer_reach_it() -> None:
    made = wrapper(nn.ConvTranspose2d(3, 4, 3, stride=2), TrainedWeights(True, 8))
    x = torch.from_numpy(noise(1, 3, 4, 4))
    assert made(x, output_size=(10, 10)).shape == (1, 4, 10, 10) != made(x).shape


def test_a_fixed_minimum_is_0_whatever_is_said() -> None:
    made = wrapper(nn.Linear(3, 2), TrainedWeights(False, 8), TrainedData(2.0, -1.0, fixed_min=True))
    assert made.acts_clip_min.item() == 0 and not made.acts_clip_min.requires_grad and made.clips() == Clips(2.0, 0.0)


def test_of_two_layers_with_one_range_the_first_observes_it() -> None:
    data = TrainedData(fixed_min=False)
    first, second = (wrapper(nn.Linear(3, 2), TrainedWeights(False, 8), data, batch_num=2) for _ in range(2))
    second.share_range(first)
    batches = [torch.from_numpy(noise(4, 3, seed=seed)) for seed in range(2)]
    second(batches[0])
    first(batches[0])
    second(batches[0])
    assert second.clips() is None
    first(batches[1])
    assert first.clips() == second.clips() is not None


def test_copies_and_files_keep_what_is_learned() -> None:
    made = wrapper(nn.Conv2d(2, 3, 1), TrainedWeights(True, 8, learned=True), TrainedData(fixed_min=False))
    x = torch.from_numpy(noise(2, 2, 3, 3))
    wanted = made(x)
    other, file = copy.deepcopy(made), io.BytesIO()
    assert torch.equal(other(x), wanted)
    torch.save(made.state_dict(), file)
    file.seek(0)
    fresh = wrapper(nn.Conv2d(2, 3, 1), TrainedWeights(True, 8, learned=True), TrainedData(fixed_min=False))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(10 * x), made(10 * x))  # the clips are set: nothing is looked for again


def test_a_batch_norm_is_in_the_recorded_scale() -> None:
    layer = RetrainLayer(wrapper(nn.Conv2d(2, 3, 1), TrainedWeights(False, 8)))
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -0.5, 1.0]))
    layer.take_batch_norm("bn", norm)
    model = nn.Sequential(layer).train()
    model(torch.from_numpy(noise(4, 2, 3, 3)))
    assert norm.running_var is not None and norm.num_batches_tracked is not None
    slopes = np.array([2, 0.5, 1]) / np.sqrt(norm.running_var.double().numpy() + norm.eps)
    (entry,) = retrain_record(model).entries.values()
    (alone,) = layer.quant_module.weight_scales()  # one for all weights becomes one for each channel
    np.testing.assert_allclose(entry.scale_w, alone * slopes, rtol=1e-6)


class TestLearnedScale:
    def test_one_that_is_not_set_becomes_the_first(self) -> None:
        scale = torch.zeros(2)
        LearnedScale().mend(scale, lambda: torch.tensor([0.5, 0.25]))
        assert scale.tolist() == [0.5, 0.25]

    @pytest.mark.parametrize("spoilt", [-0.1, 0.0, float("nan"), float("inf")])
    def test_one_that_a_step_has_spoilt_is_put_back(self, spoilt: float) -> None:
        def never() -> Tensor:
            raise AssertionError("there is a scale already")

        state, scale = LearnedScale(), torch.tensor([0.5, 0.25])
        state.mend(scale, never)
        scale.copy_(torch.tensor([spoilt, 0.3]))
        state.mend(scale, never)
        assert scale.tolist() == [0.5, pytest.approx(0.3)]
