"""Quantization inside a network that is trained: the formulas of `amctc.quant` as differentiable functions of PyTorch.

`amctc.quant.ulq` has the forward and the backward of data, `amctc.quant.trained_weights` those of weights. Here they
are computed on tensors of any device, in float32, and give the same numbers; sums of gradients may differ in the last
digits, as their order does. Chosen ranges, and the scales and offsets of data, are worked out by `amctc.quant` itself.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from amctc.dialects.retrain import TrainedWeights
from amctc.dialects.traits import linear_trait
from amctc.ir import Node
from amctc.quant.grid import FLT_EPSILON, grid_limits
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import IfmrObserver
from amctc.quant.ulq import Clips, grid_of_clips, usable_clips


def ulq(
    x: Tensor, clip_max: Tensor, clip_min: Tensor, *, bits: int, fixed_min: bool, previous: Clips | None = None
) -> Tensor:
    """`x` on the grid of two clips (tensors of one number each) and back, with the gradients of `ulq_gradients`.

    `x` itself, through which no gradient reaches the clips, where they are no range and there are no `previous` ones.
    """
    clips = usable_clips(clip_max.item(), clip_min.item(), fixed_min=fixed_min, previous=previous)
    return x if clips is None else _on_grid(x, clip_max, clip_min, clips, bits, fixed_min)


class Channels(NamedTuple):
    """How the contiguous weights of a linear layer lie in memory, by [groups, channels of one, inputs, taps]."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, w: Tensor) -> Channels:
        parts = _parts(node, w)
        return cls(tuple(parts.shape), parts.stride())

    def view(self, w: Tensor) -> Tensor:
        return w.as_strided(self.shape, self.strides)


def arq_weights(w: Tensor, node: Node, how: TrainedWeights, channels: Channels | None = None) -> Tensor:
    """A linear layer's weights, in its own layout, as ARQ puts them on their grid and brings them back.

    The numbers are those of `arq_trained`; the gradient goes straight through. `channels` are those of the layer, for
    whoever calls this in every pass.
    """
    w = w.contiguous()
    channels = channels or Channels.of(node, w)
    made: Tensor = _ArqWeights.apply(w, channels, how)  # type: ignore[no-untyped-call]  # torch gives it no types
    return made


def ulq_weights(w: Tensor, scale: Tensor, node: Node, *, bits: int, reciprocal: bool = False) -> Tensor:
    """A linear layer's weights on the grid of a learned scale (`[channels]` or `[1]`, above 0), and back.

    The numbers are those of `ulq_trained`, and the gradients those of `scale_gradient`. With `reciprocal`, `scale`
    holds 1 / scale, and gets the gradient of that.
    """
    made: Tensor = _UlqWeights.apply(w, scale, node, bits, reciprocal)  # type: ignore[no-untyped-call]  # torch gives it no types
    return made


def arq_scale(w: Tensor, node: Node, how: TrainedWeights) -> Tensor:
    """The scale of ARQ, `[channels]` or `[1]`, on the device of the weights; the numbers of `first_scale`."""
    return _arq_scale(_parts(node, w), how).reshape(-1)


class Seen(NamedTuple):
    """How many batches IFMR has observed of a range, and what it has seen in them."""

    batches: int
    observer: IfmrObserver


class UlqState:
    """What ULQ of one value remembers between the steps of a training.

    In the first `batches` batches IFMR observes the data, with an offset as the grid has one, and the clips are set
    with the last of them; until then each batch has the range of its own values, which no gradient reaches. Clips that
    are set already are left as they are, and `batches` of 0 stands for no such start. `previous` are the clips of the
    last good step; clips that a step has spoilt are put back to them.
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        fixed_min: bool = False,
        batches: int = 1,
        settings: IfmrSettings | None = None,
        name: str = "",
    ) -> None:
        self.bits = bits
        self.fixed_min = fixed_min
        self.batches = batches
        self.settings = settings or IfmrSettings(bits=bits)
        self.name = name
        self.previous: Clips | None = None
        self.seen = 0
        """How many batches IFMR has observed."""
        self.observer = IfmrObserver(self.settings, name)

    @property
    def is_measuring(self) -> bool:
        """Whether IFMR has seen some of its batches, and not yet all of them."""
        return 0 < self.seen < self.batches

    def resume(self, seen: Seen | None) -> None:
        """Forget all, and go on as if just this had been seen."""
        self.previous = None
        self.seen = seen.batches if seen is not None else 0
        self.observer = seen.observer if seen is not None else IfmrObserver(self.settings, self.name)

    def quantize(self, x: Tensor, clip_max: Tensor, clip_min: Tensor) -> Tensor:
        """`x` on the grid of the clips, which are tensors of one number and are set in place where they must be.

        Raises `DiagnosticError` where IFMR finds no range: NaN or Inf (AM404), nothing but zeros (AM405).
        """
        clips = self.mend(clip_max, clip_min)
        if clips is None and self.seen < self.batches:
            if not self._begin(x, clip_max, clip_min):
                return self._by_itself(x, clip_max, clip_min)
            clips = self.mend(clip_max, clip_min)
        return x if clips is None else _on_grid(x, clip_max, clip_min, clips, self.bits, self.fixed_min)

    def mend(self, clip_max: Tensor, clip_min: Tensor) -> Clips | None:
        """Put clips that a step has spoilt back, and remember them; gives them, or None where they were never set.

        It may be called after each step too, so that the clips that are saved then are good ones.
        """
        stored = Clips(clip_max.item(), clip_min.item())
        clips = usable_clips(*stored, fixed_min=self.fixed_min, previous=self.previous)
        if clips is not None and clips != stored:
            _put(clips, clip_max, clip_min)
        self.previous = clips
        return clips

    def _begin(self, x: Tensor, clip_max: Tensor, clip_min: Tensor) -> bool:
        """Observe a batch; whether it was the last one, with which the clips are set."""
        seen = x.detach().cpu().numpy()
        self.observer.update(np.maximum(seen, 0) if self.fixed_min else seen)
        self.seen += 1
        if self.seen < self.batches:
            return False
        found = self.observer.finish()
        _put(Clips(found.clip_max, 0.0 if self.fixed_min else found.clip_min), clip_max, clip_min)
        return True

    def _by_itself(self, x: Tensor, clip_max: Tensor, clip_min: Tensor) -> Tensor:
        low, high = (float(end) for end in x.detach().aminmax())
        clips = usable_clips(max(high, 0.0), min(low, 0.0), fixed_min=self.fixed_min)
        return x if clips is None else _on_grid(x, clip_max.detach(), clip_min.detach(), clips, self.bits, True)


def _put(clips: Clips, clip_max: Tensor, clip_min: Tensor) -> None:
    with torch.no_grad():
        clip_max.fill_(clips.high)
        clip_min.fill_(clips.low)


def _on_grid(x: Tensor, clip_max: Tensor, clip_min: Tensor, clips: Clips, bits: int, fixed_min: bool) -> Tensor:
    made: Tensor = _Ulq.apply(x, clip_max, clip_min, clips, bits, fixed_min)  # type: ignore[no-untyped-call]  # torch gives it no types
    return made


def _steps(x: Tensor, scale: Tensor | float, low: int, high: int) -> Tensor:
    """Whole steps of a scale, from `low` to `high` of them, as float32."""
    return x.div(scale).round_().clamp_(low, high)


class _Ulq(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, clip_max: Tensor, clip_min: Tensor, clips: Clips, bits: int, fixed_min: bool
    ) -> Tensor:
        grid = grid_of_clips(clips, bits)
        (low, high), offset = grid_limits(bits), int(grid.offset)
        ctx.clips, ctx.fixed_min, ctx.levels = clips, fixed_min, high - low
        ctx.scale, ctx.ends = np.float32(grid.scale), (low - offset, high - offset)
        ctx.shapes = clip_max.shape, clip_min.shape
        scale = float(ctx.scale)
        y = _steps(x, scale, *ctx.ends).mul_(scale)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x, y), (above,) = ctx.saved_tensors, gradients
        scale: np.float32 = ctx.scale
        first, last = (scale * np.float32(end) for end in ctx.ends)
        # The gradient of Hardtanh is 0 at the ends too, and that of ULQ beyond them. Comparisons of our own cost more.
        just_below, just_above = np.nextafter(first, -np.inf), np.nextafter(last, np.inf)
        inside: Tensor = torch.ops.aten.hardtanh_backward(above, x, float(just_below), float(just_above))
        if not any(ctx.needs_input_grad[1:3]):
            return inside, None, None, None, None, None
        # What rounding has added inside, and what lies outside, where y is an end of the grid; in units of the scale.
        outside = (above - inside).flatten()
        sums = outside.sum(), torch.dot(outside, y.flatten()), torch.dot((y - x).flatten(), inside.flatten())
        total, moment, residues = (each.item() for each in sums)
        beyond = (moment - total * float(first)) / (float(scale) * ctx.levels)
        below = total - beyond
        at_high, at_low = (_residue(np.float32(clip) / scale) for clip in ctx.clips)
        common = (residues / float(scale) + beyond * at_high + below * at_low) / ctx.levels
        of_max, of_min = ctx.shapes
        to_max, to_min = x.new_full(of_max, common + beyond), x.new_full(of_min, 0 if ctx.fixed_min else below - common)
        return inside, to_max, to_min, None, None, None


def _residue(steps: np.float32) -> float:
    return float(np.rint(steps) - steps)


def _parts(node: Node, w: Tensor) -> Tensor:
    """The weights of a linear layer as [groups, channels of one, inputs, taps], a view."""
    channels = linear_trait(node).channels
    if channels is None:
        raise ValueError(f"the weights of {node.op} are not trained quantized")
    # The op table is written for arrays; it slices and reshapes, which tensors do alike.
    found: Tensor = cast("Any", channels.split)(node, w)
    return found


def _like(w: Tensor, node: Node, parts: Tensor) -> Tensor:
    """The inverse of `_parts`, for weights of the layout of `w`."""
    made = torch.empty_like(w)
    _parts(node, made).copy_(parts)
    return made


def _along(scale: Tensor, parts: Tensor) -> Tensor:
    """A scale for each channel, or one, so that it goes with parts."""
    return scale.reshape(*parts.shape[:2], 1, 1) if scale.numel() > 1 else scale.reshape(1, 1, 1, 1)


def _arq_scale(parts: Tensor, how: TrainedWeights) -> Tensor:
    """As `scale_offset_from_range` has it without an offset, so that it goes with parts."""
    low_q, high_q = grid_limits(how.bits)
    if how.channel_wise:
        low, high = (end.view(*parts.shape[:2], 1, 1) for end in parts.flatten(2).aminmax(dim=2))
    else:
        low, high = (end.view(1, 1, 1, 1) for end in parts.aminmax())
    levels = torch.where(high.abs() < low.abs(), float(-low_q), float(high_q))
    scale = torch.maximum(high, -low).clamp_(min=0).div_(levels)
    return scale.masked_fill_(scale < float(FLT_EPSILON), 1.0)


class _ArqWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, channels: Channels, how: TrainedWeights) -> Tensor:
        made = torch.empty_like(w)
        parts, found = channels.view(w), channels.view(made)
        scale = _arq_scale(parts, how)
        torch.div(parts, scale, out=found).round_().clamp_(*grid_limits(how.bits)).mul_(scale)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None, None


class _UlqWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, scale: Tensor, node: Node, bits: int, reciprocal: bool) -> Tensor:
        parts = _parts(node, w)
        along = _along(scale.reciprocal() if reciprocal else scale, parts)
        ctx.save_for_backward(w, scale)
        ctx.node, ctx.bits, ctx.reciprocal = node, bits, reciprocal
        return _like(w, node, _steps(parts, along, *grid_limits(bits)).mul_(along))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (w, stored), (above,) = ctx.saved_tensors, gradients
        low, high = grid_limits(ctx.bits)
        parts = _parts(ctx.node, w)
        scale = stored.reciprocal() if ctx.reciprocal else stored
        along = _along(scale, parts)
        steps = parts / along
        residue = steps.round() - steps
        residue = torch.where(parts > along * high, float(high), residue)
        residue = torch.where(parts < along * low, float(low), residue)
        products = residue.mul_(_parts(ctx.node, above))
        sums = products.sum((2, 3)) if scale.numel() > 1 else products.sum()
        found = sums.reshape(stored.shape) / math.sqrt(parts[0, 0].numel() * high)
        return above, -found * scale * scale if ctx.reciprocal else found, None, None, None
