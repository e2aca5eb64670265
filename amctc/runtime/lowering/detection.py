"""PriorBox, which is a constant once the shapes are known."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.prior_box import PriorBoxes, prior_boxes
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule


def lower_prior_box(low: Lowering, node: Node) -> None:
    """A constant; the inputs give their shapes alone."""
    boxes = prior_boxes(node, low.shape(node.inputs[0]), low.shape(node.inputs[1]))
    low.emit("Identity", [low.constant(prior_blob(boxes), f"{node.name}.boxes")], low.name(node.output))


def prior_blob(boxes: PriorBoxes) -> NDArray[np.float32]:
    """[1, 2, 4 * boxes]: xmin, ymin, xmax, ymax of each box by row and column of the grid, then the variances.

    Corners are fractions of the image. A centre is kept in float32, as Caffe keeps it.
    """
    sizes = np.array(boxes.sizes, np.float32)[:, ::-1]
    centres = [
        (np.arange(count, dtype=np.float32) + np.float32(boxes.offset)) * np.float32(step)
        for count, step in zip(boxes.grid, boxes.step, strict=True)
    ]
    blob = np.empty((2, *boxes.grid, len(sizes), 2, 2), np.float32)
    grid = np.stack(np.meshgrid(centres[1], centres[0]), axis=-1)[:, :, np.newaxis].astype(np.float64)
    image = np.array(boxes.image[::-1], np.float64)
    blob[0, ..., 0, :] = (grid - sizes / 2.0) / image
    blob[0, ..., 1, :] = (grid + sizes / 2.0) / image
    if boxes.clip:
        np.clip(blob[0], 0, 1, out=blob[0])
    blob[1] = np.array(boxes.variance, np.float32).reshape(2, 2)
    return blob.reshape(1, 2, -1)


DETECTION_RULES: Mapping[str, Rule] = MappingProxyType({"caffe.PriorBox": lower_prior_box})
