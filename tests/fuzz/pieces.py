"""What a random net is made of: blobs, layers that read them, and inputs made where no blob fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.ir.node import Shape

_T = TypeVar("_T")

IMAGES = (2, 4, 6, 6)
"""The shape of an input that is made where a layer wants an image and there is none."""


@dataclass(frozen=True)
class Blob:
    name: str
    shape: Shape
    read: bool = False
    """Whether a layer reads it already; then no other may write over it."""


@dataclass(frozen=True)
class Piece:
    """A layer to add: what it reads, its parameters and how many tops it has."""

    bottoms: tuple[Blob, ...] = ()
    parameters: str = ""
    tops: int = 1


@dataclass
class Bench:
    """Where one layer is made: choices are drawn, and blobs are taken or made.

    `number` is that of the layer. The name of an input says what it is fed with (see `fed`).
    """

    draw: st.DrawFn
    blobs: Sequence[Blob]
    number: int
    made: list[Blob] = field(default_factory=list)

    def pick(self, *choices: _T) -> _T:
        return self.draw(st.sampled_from(choices))

    def between(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def flag(self) -> str:
        return self.pick("true", "false")

    def blob(self, fits: Callable[[Shape], bool] = lambda shape: True, otherwise: Shape = IMAGES) -> Blob:
        """One of the blobs that fit; where none does, a new input of the shape `otherwise`."""
        fitting = [blob for blob in self.blobs if fits(blob.shape)]
        return self.pick(*fitting) if fitting else self.input(otherwise)

    def image(self, fits: Callable[[Shape], bool] = lambda shape: True, otherwise: Shape = IMAGES) -> Blob:
        """A blob of four axes."""
        return self.blob(lambda shape: len(shape) == 4 and fits(shape), otherwise)

    def like(self, blob: Blob) -> Blob:
        """A blob of the same shape, perhaps the very one."""
        return self.blob(lambda shape: shape == blob.shape, blob.shape)

    def axis(self, shape: Shape) -> int:
        return self.between(-len(shape), len(shape) - 1) if shape else 0

    def input(self, shape: Shape, fed: str = "numbers") -> Blob:
        """A new input."""
        made = Blob(f"{fed}_{self.number}_{len(self.made)}", shape)
        self.made.append(made)
        return made


Template: TypeAlias = Callable[[Bench], Piece]


def along(parameter: str, more: str = "") -> Template:
    """A layer along an axis."""

    def make(bench: Bench) -> Piece:
        blob = bench.blob(lambda shape: len(shape) > 0)
        return Piece((blob,), f"{parameter} {{ axis: {bench.axis(blob.shape)} {more} }}")

    return make


def input_layer(blob: Blob) -> str:
    dims = " ".join(f"dim: {size}" for size in blob.shape)
    return f'layer {{ name: "{blob.name}" type: "Input" top: "{blob.name}" input_param {{ shape {{ {dims} }} }} }}\n'


def fed(name: str, shape: Shape, rng: np.random.Generator) -> NDArray[np.float32]:
    """Figures for an input: its name says which; other names get positive numbers.

    `below5…` whole numbers from 0 to 4; `flags` 0 or 1; `boxes` and `regions` corners in order (the latter
    with an image of the batch `…2` before them); `priors` boxes and variances; `info` an image's size and scale.
    """
    kind = name.partition("_")[0]
    word, count = kind.rstrip("0123456789"), kind.lstrip("abcdefghijklmnopqrstuvwxyz")
    match word:
        case "below":
            found = rng.integers(0, int(count), shape).astype(np.float64)
        case "flags":
            found = rng.integers(0, 2, shape).astype(np.float64)
        case "boxes":
            found = _corners(rng, shape, 8.0)
        case "regions":
            images = rng.integers(0, int(count), (*shape[:-1], 1))
            return np.concatenate([images, _corners(rng, (*shape[:-1], 4), 8.0)], -1).astype(np.float32)
        case "priors":
            boxes = _corners(rng, (shape[2] // 4, 4), 1.0).reshape(-1)
            return np.stack([boxes, np.full(boxes.size, 0.1)])[None].astype(np.float32)
        case "info":
            return np.broadcast_to(np.array([96, 96, 1], np.float32), shape).copy()
        case _:
            return rng.uniform(0.1, 2, shape).astype(np.float32)
    return found.astype(np.float32)


def _corners(rng: np.random.Generator, shape: Shape, most: float) -> NDArray[np.float64]:
    first, second = rng.uniform(0, most, (2, *shape[:-1], 2))
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)
