"""The arithmetic of boxes: decoding, overlap, suppression. A box is (xmin, ymin, xmax, ymax).

Semantics: bbox_util.cpp of Caffe's SSD branch (weiliu89/caffe), and for boxes in whole pixels
proposal_layer.cpp of PVANet's Caffe (sanghoon/caffe).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.detection import CENTER_SIZE, CORNER

Floats = NDArray[np.float32]


def decode(deltas: Floats, priors: Floats, variances: Floats, code: int, in_target: bool) -> Floats:
    """Predictions [..., P, 4] for priors [P, 4] as boxes [..., P, 4].

    CORNER: prior + v*d. CORNER_SIZE: prior + v*d*size. CENTER_SIZE: centre + v*d*size and
    exp(v*d)*size. The variances v [P, 4] count as 1 where they are `in_target`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        moved: NDArray[Any] = deltas if in_target else variances * deltas
        size = priors[:, 2:] - priors[:, :2]
        if code != CENTER_SIZE:
            found: Floats = np.add(priors, moved if code == CORNER else moved * np.tile(size, 2))
            return found
        centre: Floats = np.add(moved[..., :2] * size, (priors[:, :2] + priors[:, 2:]) / np.float32(2))
        half: Floats = np.exp(moved[..., 2:]) * size / np.float32(2)
        return np.concatenate([centre - half, centre + half], axis=-1)


def overlaps(box: Floats, boxes: Floats, pixel: float = 0.0) -> Floats:
    """Intersection over union of one box with boxes [N, 4].

    `pixel` is what is added to a length: 1 where corners are whole pixels that belong to the box.
    """
    one = np.float32(pixel)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + one
        shared = sides[:, 0] * sides[:, 1]
        union = areas(box[np.newaxis], pixel) + areas(boxes, pixel) - shared
        return np.where((sides > 0).all(axis=1), shared / union, np.float32(0))


def areas(boxes: Floats, pixel: float = 0.0) -> Floats:
    """The area of each box of [N, 4]; 0 where a corner is on the wrong side."""
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        found: Floats = np.prod(sides + np.float32(pixel), axis=1)
    return np.where((sides < 0).any(axis=1), np.float32(0), found)


def best_first(scores: Floats, above: float, most: int) -> NDArray[np.intp]:
    """Indices of the scores greater than `above`, by falling score; at most `most` unless that is negative.

    Equal scores keep their order. NaN is greater than nothing.
    """
    chosen = np.flatnonzero(scores > np.float32(above))
    order = chosen[np.argsort(-scores[chosen], kind="stable")]
    return order[:most] if most >= 0 else order


def suppress(
    boxes: Floats, threshold: float, most: int | None = None, eta: float = 1.0, pixel: float = 0.0
) -> list[int]:
    """Indices of the boxes that are kept of [N, 4], best first: none overlaps a kept one by more than `threshold`.

    With `eta` below 1 the threshold shrinks by it after every kept box, while it is above 0.5. Stops
    at `most` boxes. An overlap that is NaN drops the box. O(kept * N).
    """
    limit = len(boxes) if most is None else most
    kept: list[int] = []
    worst = np.zeros(len(boxes), np.float32)
    current, position = threshold, 0
    while position < len(boxes) and len(kept) < limit:
        waiting = worst[position:] <= np.float32(current)
        step = int(waiting.argmax())
        if not waiting[step]:
            break
        position += step
        kept.append(position)
        later = slice(position + 1, None)
        worst[later] = np.maximum(worst[later], overlaps(boxes[position], boxes[later], pixel))
        if eta < 1 and current > 0.5:
            current *= eta
        position += 1
    return kept
