"""Image files as samples: decoded when their batch is due, or shortly before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.ahead import decoding_threads, in_order
from amctc.runtime.samples import Batch, Floats, Place, SampleShape, check_finite, shape_text

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm"})

AHEAD_BYTES: Final = 1 << 26
"""Decoded images that wait for their batch take no more than this, or are a single one."""


@dataclass(frozen=True)
class ImageSource:
    """Image files, one sample each.

    While a batch is used, `threads` decode the next images, up to a batch of them or `AHEAD_BYTES`; the samples and
    what is raised are the same without. None lets `decoding_threads` choose.
    """

    paths: tuple[Path, ...]
    shape: SampleShape
    preprocess: Preprocess
    threads: int | None = None

    @property
    def count(self) -> int:
        return len(self.paths)

    def pick(self, numbers: Sequence[int]) -> ImageSource:
        return replace(self, paths=tuple(self.paths[number] for number in numbers))

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        paths = self.paths[start:stop]
        images = self._images(paths, size)
        expected = self.shape
        for first in range(0, len(paths), size):
            part = paths[first : first + size]
            batch: Floats = np.empty(0, np.float32)
            for row, path in enumerate(part):
                image = next(images)
                self._check(expected, path, image.shape)
                if row == 0:
                    batch = np.empty((len(part), *image.shape), np.float32)
                    expected = SampleShape(self.shape.input, image.shape)
                batch[row] = image
            check_finite(batch, self.shape.input, range(start + first, start + first + len(part)), self._place)
            yield {self.shape.input: batch}

    def samples_in(self, batch: Batch) -> int:
        return len(batch[self.shape.input])

    def _images(self, paths: tuple[Path, ...], size: int) -> Iterator[Floats]:
        if not paths:
            return
        first = self._read(paths[0])
        ahead = max(1, min(size, AHEAD_BYTES // max(1, first.nbytes)))
        yield first
        threads = decoding_threads(len(paths)) if self.threads is None else self.threads
        yield from in_order(self._read, paths[1:], threads, ahead)

    def _read(self, path: Path) -> Floats:
        from amctc.runtime.images import read_image

        try:
            return read_image(path, self.preprocess)
        except DiagnosticError as problem:
            raise DiagnosticError(
                *(
                    told if told.file is not None else replace(told, notes=(*told.notes, f"the image is `{path}`"))
                    for told in problem.diagnostics
                )
            ) from None

    def _place(self, number: int) -> Place:
        path = str(self.paths[number])
        return Place(f" (image `{path}`)", path)

    def _check(self, expected: SampleShape, path: Path, shape: tuple[int, ...]) -> None:
        if expected.fits(shape):
            return
        if self.shape.fits(shape):  # so it is unlike the images before it
            message = f"image `{path}` gives {shape_text(shape)}, the images before it {expected}"
            help = "add `resize` or `center-crop` to the preprocessing, so that all have one size"
            raise error("AM402", message, file=str(path), help=help)
        self.shape.check(shape, f"image `{path}` gives", str(path), self._advice(shape))

    def _advice(self, found: tuple[int, ...]) -> str | None:
        """What to add to the preprocessing so that an image fits; None where that is not plain."""
        wanted = self.shape.sides or ()
        if len(wanted) != 3 or len(found) != 3:
            return None
        if self.preprocess.layout == "chw" and wanted[2] in (1, 3) and wanted[0] > 4:
            return "this input has its channels last: add `layout=hwc` to the preprocessing"
        channels, height, width = wanted if self.preprocess.layout == "chw" else (wanted[2], *wanted[:2])
        if channels == 1 and not self.preprocess.is_gray:
            return "add `gray` to the preprocessing"
        if height <= 0 or width <= 0:
            return None
        return f"add `resize={width}x{height}`, or `resize-short` and `center-crop`, to the preprocessing"
