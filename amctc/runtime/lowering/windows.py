"""What the rules of the convolutions share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from amctc.ir.node import Shape

if TYPE_CHECKING:
    from amctc.dialects.caffe.convolution import ConvGeometry


def conv_attributes(geometry: ConvGeometry) -> dict[str, Any]:
    """The attributes of ONNX's Conv, ConvTranspose and ConvInteger."""
    return {
        "kernel_shape": geometry.kernel,
        "strides": geometry.stride,
        "pads": (*geometry.pad, *geometry.pad),
        "dilations": geometry.dilation,
        "group": geometry.group,
    }


def folded_shape(shape: Shape, axis: int) -> Shape:
    """[N..., C, spatial...] as [prod(N...), C, spatial...], as ONNX wants it; `axis` is that of C."""
    return (math.prod(shape[:axis]), *shape[axis:])
