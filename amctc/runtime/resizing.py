"""Resizing arrays of images: linear interpolation, as scikit-image, SciPy and OpenCV define it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Edges = Literal["zero", "repeat"]


def bilinear(image: NDArray[np.float64], size: tuple[int, int], edges: Edges = "zero") -> NDArray[np.float64]:
    """[H, W, C] at another height and width: each output pixel's centre lies among those of the input.

    Beyond the outermost centres the input is zero, or what stands at the edge.
    """
    found = image
    for axis, wanted in enumerate(size):
        places = (np.arange(wanted) + 0.5) * (image.shape[axis] / wanted) - 0.5
        found = _interpolated(found, axis, places, edges)
    return found


def nearest(image: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """[H, W, C] at another height and width, each output pixel the input's nearest one."""
    found = image
    for axis, wanted in enumerate(size):
        places = (np.arange(wanted) + 0.5) * (image.shape[axis] / wanted) - 0.5
        found = found.take(np.clip(np.rint(places).astype(np.intp), 0, image.shape[axis] - 1), axis)
    return found


def corners_aligned(image: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """[H, W, C] at another height and width: the outermost pixels' centres stay where they are."""
    found = image
    for axis, wanted in enumerate(size):
        places = np.linspace(0, image.shape[axis] - 1, wanted) if wanted > 1 else np.zeros(wanted)
        found = _interpolated(found, axis, places, "repeat")
    return found


def smoothed(image: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """[H, W, C] made blunt before it is made smaller: a Gaussian with sigma (factor - 1) / 2 along each axis.

    It ends after four sigmas; beyond the image there are zeros.
    """
    found = image
    for axis, wanted in enumerate(size):
        sigma = (image.shape[axis] / wanted - 1) / 2
        radius = int(4 * sigma + 0.5)
        if sigma <= 0 or radius < 1:
            continue
        weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
        found = _weighted(found, axis, weights / weights.sum())
    return found


def _interpolated(image: NDArray[Any], axis: int, places: NDArray[np.float64], edges: Edges) -> NDArray[np.float64]:
    below = np.floor(places).astype(np.intp)
    share = (places - below).reshape([-1 if each == axis else 1 for each in range(image.ndim)])
    return _taken(image, axis, below, edges) * (1 - share) + _taken(image, axis, below + 1, edges) * share


def _taken(image: NDArray[Any], axis: int, places: NDArray[np.intp], edges: Edges) -> NDArray[np.float64]:
    last = image.shape[axis] - 1
    found = image.take(np.clip(places, 0, last), axis).astype(np.float64)
    if edges == "zero":
        there = (places >= 0) & (places <= last)
        found *= there.reshape([-1 if each == axis else 1 for each in range(image.ndim)])
    return found


def _weighted(image: NDArray[np.float64], axis: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    radius = len(weights) // 2
    padding = [(radius, radius) if each == axis else (0, 0) for each in range(image.ndim)]
    padded = np.moveaxis(np.pad(image, padding), axis, 0)
    count = image.shape[axis]
    found = sum(weight * padded[begin : begin + count] for begin, weight in enumerate(weights))
    return np.moveaxis(np.asarray(found, np.float64), 0, axis)
