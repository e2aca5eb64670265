"""The wrapper of a layer that is trained with quantization: its data and its weights are quantized in every pass."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from amctc.dialects.channels import by_channels, by_channels_transposed
from amctc.modules.learned_scale import LearnedScale
from amctc.modules.wrapped import Rewritten
from amctc.policy.resolve_training import TrainedData, TrainedLayer
from amctc.quant.ulq import Clips, usable_clips
from amctc.training.quantizers import Channels, UlqState, arq_scale, arq_weights, ulq_weights

TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d)
TRAINED_TYPES: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
"""The modules that can be trained with quantization; of these alone, as a subclass may compute something else."""


class QuantizedLayer(nn.Module):
    """A layer, `replaced_module`, on data that a learned range quantizes and with weights on a grid.

    Parameters have the names of AMCT's: `acts_clip_max` and `acts_clip_min`, of one number each and both 0 as long as
    they are not set; `wts_scales`, `[channels]` or `[1]`, where the scale of the weights is learned. With `fixed_min`
    the lower end is 0 and no optimizer moves it. A range may be one for several layers that read a value: they have
    the two parameters and `range` in common, and the first of them `leads`: it observes the value for all.
    """

    def __init__(self, layer: nn.Module, how: TrainedLayer, batch_num: int, name: str) -> None:
        """`how` has weights, and says whether the minimum is fixed. `batch_num` batches set clips that are not said."""
        super().__init__()
        if how.weights is None:
            raise ValueError(f"nothing says how the weights of {name!r} are quantized")
        self.replaced_module = layer
        self.how = how.weights
        self.channels = _channels_of(layer, self._weight)
        self.acts_clip_max, self.acts_clip_min = _clips(how.data, self._weight.device)
        self.range = UlqState(
            bits=how.data.bits, fixed_min=bool(how.data.fixed_min), batches=max(1, batch_num), name=name
        )
        self.leads = True
        if how.weights.learned:
            groups, channels, *_ = self.channels.shape
            count = groups * channels if how.weights.channel_wise else 1
            self.wts_scales = nn.Parameter(torch.zeros(count, device=self._weight.device))
            self.learned_scale = LearnedScale()

    def share_range(self, leader: QuantizedLayer) -> None:
        """Take the range of another layer, which reads the same value before this one, for its own."""
        self.acts_clip_max, self.acts_clip_min = leader.acts_clip_max, leader.acts_clip_min
        self.range, self.leads = leader.range, False

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Any:
        """What the layer gives for quantized data; further arguments are its own (`output_size`)."""
        data = self.range.quantize(x, self.acts_clip_max, self.acts_clip_min, observe=self.leads)
        weights = {"weight": self.quantized_weight()}
        return functional_call(self.replaced_module, weights, (data, *others), options)

    def quantized_weight(self) -> Tensor:
        """The weights on their grid, of the layer's own shape."""
        if not self.how.learned:
            return arq_weights(self._weight, self.channels, self.how)
        return ulq_weights(self._weight, self._mended_scales(), self.channels, bits=self.how.bits)

    def weight_scales(self) -> NDArray[np.float32]:
        """The scale of each output channel, or the one of all, as the next pass has it."""
        with torch.no_grad():
            learned = self.how.learned
            found = self._mended_scales() if learned else arq_scale(self._weight, self.channels, self.how)
            scales: NDArray[np.float32] = found.detach().cpu().numpy().astype(np.float32)
        return scales

    def clips(self) -> Clips | None:
        """The range of the data as the next pass has it; None where it is not set."""
        return usable_clips(
            self.acts_clip_max.item(),
            self.acts_clip_min.item(),
            fixed_min=self.range.fixed_min,
            previous=self.range.previous,
        )

    @property
    def _weight(self) -> Tensor:
        return cast("Tensor", self.replaced_module.weight)

    def _mended_scales(self) -> Tensor:
        first = partial(arq_scale, self._weight, self.channels, self.how)
        self.learned_scale.mend(self.wts_scales, first)
        return self.wts_scales


class RetrainLayer(Rewritten):
    """A quantized layer, and the BatchNorm behind it, if one is there, as a module of its own in training and after.

    The BatchNorm is folded into the layer when the model is saved; `batch_norm_name` is where it comes from.
    """

    def __init__(self, layer: QuantizedLayer) -> None:
        super().__init__()
        self.quant_module = layer
        self.bn_module: nn.Module | None = None
        self.batch_norm_name: str | None = None

    def take_batch_norm(self, name: str, module: nn.Module) -> None:
        """Compute the BatchNorm of this name here from now on."""
        self.bn_module, self.batch_norm_name = module, name

    def __getattr__(self, name: str) -> Any:
        """What the wrapper itself has not is the layer's: code that asks it for its sizes goes on working."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "quant_module":  # not there yet, while a copy is being made
                raise
            return getattr(self.quant_module.replaced_module, name)

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Any:
        """What the layer, and the BatchNorm behind it, give."""
        found = self.quant_module(x, *others, **options)
        return found if self.bn_module is None else self.bn_module(found)

    def slopes(self) -> NDArray[np.float64] | None:
        """|a| of each channel of the BatchNorm y = a*x + b in evaluation: |gamma| / sqrt(variance + eps)."""
        norm: Any = self.bn_module
        if norm is None:
            return None
        with torch.no_grad():
            variance = norm.running_var.double().cpu().numpy()
            gamma = np.float64(1) if norm.weight is None else np.abs(norm.weight.double().cpu().numpy())
        return np.asarray(gamma / np.sqrt(variance + norm.eps), np.float64)


def _channels_of(layer: nn.Module, weight: Tensor) -> Channels:
    """How the weights of a module lie by their channels. The functions are written for arrays; tensors do the same."""
    parts: Any = by_channels_transposed if isinstance(layer, TRANSPOSED) else by_channels
    return Channels.of_parts(parts(weight.detach().contiguous(), getattr(layer, "groups", 1)))


def _clips(data: TrainedData, device: torch.device) -> tuple[nn.Parameter, nn.Parameter]:
    said = data.clip_max is not None and data.clip_min is not None
    high = torch.tensor(data.clip_max if said else 0.0, device=device)
    low = torch.tensor(data.clip_min if said and not data.fixed_min else 0.0, device=device)
    return nn.Parameter(high), nn.Parameter(low, requires_grad=not data.fixed_min)
