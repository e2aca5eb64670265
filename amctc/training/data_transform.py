"""Caffe's data transformer: minus the mean, times the scale, a part of the image, mirrored or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.mean_image import read_mean_image
from amctc.training.places import Locate, as_written


@dataclass(frozen=True)
class DataTransform:
    """`transform_param`. Parts are taken at random and images mirrored in phase TRAIN, where `draw` is given."""

    scale: np.float32
    crop: int
    mean: NDArray[np.float32] | None
    values: NDArray[np.float32] | None
    color: bool
    gray: bool
    mirror: bool
    trains: bool

    @classmethod
    def of(cls, node: Node, locate: Locate = as_written) -> DataTransform:
        """Of a data layer. Raises AM665 where fields contradict each other, AM310 to AM312 for a mean file."""
        given = params(node, "transform_param")
        values = np.array(given.mean_value, np.float32) if len(given.mean_value) else None
        if given.mean_file and values is not None:
            message = f"layer `{node.name}` gives both `mean_file` and `mean_value`"
            raise error("AM665", message, help="keep one of them")
        mean = read_mean_image(str(locate(given.mean_file))) if given.mean_file else None
        return cls(
            np.float32(given.scale),
            given.crop_size,
            mean,
            values,
            given.force_color,
            given.force_gray,
            given.mirror,
            node.attrs.get("phase") == "TRAIN",
        )

    def shape(self, image: Shape) -> Shape:
        """Of the result for an image [channels, height, width]. `DiagnosticError` (AM665) where it does not fit."""
        channels, height, width = image
        if self.crop > min(height, width):
            raise error("AM665", f"`crop_size` is {self.crop}, an image has only {height} x {width} pixels")
        if self.mean is not None and self.mean.shape != image:
            raise error("AM665", f"the mean image has the shape {self.mean.shape}, an image {image}")
        if self.values is not None and self.values.size not in (1, channels):
            raise error("AM665", f"there are {self.values.size} `mean_value` for images of {channels} channels")
        return (channels, self.crop, self.crop) if self.crop else image

    def apply(self, image: NDArray[Any], draw: np.random.Generator | None = None) -> NDArray[np.float32]:
        """The transformed image, float32 [channels, height, width]. Raises as `shape` does.

        In phase TRAIN, with `draw`, the part is anywhere in the image, and every other image is mirrored if `mirror` is
        set; else the middle is taken, and nothing mirrored. The mean is that of the same part, as in Caffe.
        """
        _, height, width = self.shape(image.shape)
        rest = (image.shape[1] - height, image.shape[2] - width)
        random = draw if self.trains else None
        if random is not None and self.crop:
            top, left = (int(random.integers(0, free + 1)) for free in rest)
        else:
            top, left = (free // 2 for free in rest)
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        found = image[window].astype(np.float32)
        if self.mean is not None:
            found -= self.mean[window]
        elif self.values is not None:
            found -= self.values.reshape(-1, 1, 1)
        if random is not None and self.mirror and random.integers(0, 2):
            found = found[:, :, ::-1]
        return found * self.scale
