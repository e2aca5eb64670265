"""The windows that `convolution_param` describes: size, stride, padding and dilation, once a spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amctc.dialects.caffe.blobs import axis_of
from amctc.dialects.op import OpError
from amctc.ir.node import Shape


@dataclass(frozen=True)
class Windows:
    """Windows behind the axis of the channels; every tuple has one entry a spatial axis."""

    axis: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """What one window covers of each axis: dilation * (kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    def counts(self, shape: Shape) -> tuple[int, ...]:
        """How many windows fit into each spatial axis of a blob. Raises `OpError` where none does."""
        found: list[int] = []
        for size, extent, stride, pad in zip(shape[self.axis + 1 :], self.extent, self.stride, self.pad, strict=True):
            room = size + 2 * pad - extent
            if room < 0:
                raise OpError(f"a window that covers {extent} does not fit an axis of {size} with a padding of {pad}")
            found.append(room // stride + 1)
        return tuple(found)


def windows_of(param: Any, shape: Shape) -> Windows:
    """The windows of a `convolution_param` for a blob. Raises `OpError` for everything Caffe's set-up refuses."""
    axis = axis_of(param.axis, len(shape))
    spatial = len(shape) - axis - 1
    if spatial < 1:
        raise OpError(f"needs at least one axis behind `axis` {param.axis}, its input has {len(shape)} in all")
    return Windows(
        axis=axis,
        kernel=_positive("kernel_size", _kernel(param, spatial)),
        stride=_positive("stride", _per_axis(param, "stride", spatial, 1)),
        pad=_per_axis(param, "pad", spatial, 0),
        dilation=_positive("dilation", _repeated("dilation", param.dilation, spatial, 1)),
    )


def _kernel(param: Any, spatial: int) -> tuple[int, ...]:
    if not param.kernel_size and not param.HasField("kernel_h") and not param.HasField("kernel_w"):
        raise OpError("`kernel_size` is missing; give it once, or once for each spatial axis")
    return _per_axis(param, "kernel_size", spatial, 0)


def _per_axis(param: Any, name: str, spatial: int, default: int) -> tuple[int, ...]:
    """A repeated field, or its `_h` and `_w` forms, as one number a spatial axis."""
    short = name.removesuffix("_size")
    high, wide = f"{short}_h", f"{short}_w"
    if not param.HasField(high) and not param.HasField(wide):
        return _repeated(name, getattr(param, name), spatial, default)
    if getattr(param, name):
        raise OpError(f"`{name}` and `{high}`/`{wide}` are both given; keep one of the two forms")
    if spatial != 2:
        raise OpError(f"`{high}` and `{wide}` are for two spatial axes, this blob has {spatial}")
    return int(getattr(param, high)), int(getattr(param, wide))


def _repeated(name: str, given: Sequence[int], spatial: int, default: int) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in given)
    if not numbers:
        return (default,) * spatial
    if len(numbers) == 1:
        return numbers * spatial
    if len(numbers) != spatial:
        raise OpError(f"`{name}` is given {len(numbers)} times; give it once, or {spatial} times, once a spatial axis")
    return numbers


def _positive(name: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    if min(numbers) < 1:
        raise OpError(f"`{name}` must be positive, not {min(numbers)}")
    return numbers
