"""Blobs as pycaffe shows them: numpy arrays that stay the same memory until they are reshaped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from amctc.compat.caffe.errors import refusal
from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.dialects.caffe.blob_proto import MOST_AXES
from amctc.ir.node import Shape

MOST_NUMBERS = 2**31 - 1
"""Caffe's own limit of one blob."""


def _nothing() -> None:
    return None


class Blob:
    """One blob: `data` and `diff` are arrays of `shape`, to be read and written in place.

    `data` is the same array at every access until the shape changes; a smaller shape goes on using the
    same memory, as in Caffe, and new memory holds zeros. The type is float32, but that integers of a
    deploy model keep theirs. `before` is called whenever the data are asked for.
    """

    def __init__(self, shape: Shape, dtype: str = "float32", before: Callable[[], None] = _nothing) -> None:
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._before = before
        self._memory: NDArray[Any] | None = None
        self._shown: Callable[[], NDArray[Any] | None] = _nothing
        self._base: Callable[[], NDArray[Any] | None] = _nothing
        self._diff: NDArray[np.float32] | None = None

    @property
    def data(self) -> NDArray[Any]:
        """The numbers, of `shape`; write with `data[...] = x`."""
        self._before()
        shown = self._shown()
        if shown is None:
            # Over a memoryview NumPy makes an array that stays the base of all its parts, so `is_held` sees them too.
            flat: Any = self.array().reshape(-1)
            base = np.frombuffer(memoryview(flat), self._dtype) if flat.size else flat
            shown = base.reshape(self._shape)
            self._shown, self._base = ref(shown), ref(base)
        return shown

    @property
    def is_held(self) -> bool:
        """Whether somebody has `data`, or a part of it, in hands: what a run computes must then be put there."""
        return self._base() is not None

    @property
    def diff(self) -> NDArray[np.float32]:
        """Gradients: zeros, as nothing computes them here."""
        if self._diff is None or self._diff.shape != self.shape:
            self._diff = np.zeros(self.shape, np.float32)
        return self._diff

    @property
    def shape(self) -> Shape:
        self._before()
        return self._shape

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def num(self) -> int:
        return self._legacy(0)

    @property
    def channels(self) -> int:
        return self._legacy(1)

    @property
    def height(self) -> int:
        return self._legacy(2)

    @property
    def width(self) -> int:
        return self._legacy(3)

    def reshape(self, *shape: int) -> None:
        """Give the blob another shape. Raises `CaffeError` (AM661) for one that no blob can have."""
        self._before()
        try:
            self.resize(tuple(int(side) for side in shape))
        except DiagnosticError:
            raise
        except (TypeError, ValueError):
            raise refusal("AM661", "`reshape` takes whole numbers: `blob.reshape(1, 3, 224, 224)`") from None

    # -- for the net -----------------------------------------------------------------------------

    def array(self) -> NDArray[Any]:
        """`data`, whatever is in it now, as an array for the net alone."""
        count = math.prod(self._shape)
        if self._memory is None or self._memory.size < count:
            self._use(np.zeros(count, self._dtype))
        memory = self._memory if self._memory is not None else np.zeros(0, self._dtype)
        return memory[:count].reshape(self._shape)

    def resize(self, shape: Shape) -> None:
        """`reshape` without a look at what is in the blob."""
        if shape == self._shape:
            return
        if len(shape) > MOST_AXES or min(shape, default=0) < 0 or math.prod(shape) > MOST_NUMBERS:
            message = f"a blob cannot have the shape {_text(shape)}"
            help = f"at most {MOST_AXES} axes, none negative, and at most {MOST_NUMBERS} numbers"
            raise refusal("AM661", message, help=help)
        self._shape = shape
        self._shown = self._base = _nothing

    def store(self, array: NDArray[Any]) -> None:
        """Take over what a layer computed: its shape, and its numbers into the same memory."""
        self.resize(array.shape)
        if self._memory is None or self._memory.size < array.size:
            self._use(np.empty(array.size, self._dtype))
        np.copyto(self.array(), array, casting="unsafe")

    def adopt(self, memory: NDArray[Any]) -> None:
        """Use this array's memory from now on: one that is contiguous, of `shape`'s size and of the same type."""
        self._use(memory.reshape(-1))

    def _use(self, memory: NDArray[Any]) -> None:
        self._memory = memory
        self._shown = self._base = _nothing

    def _legacy(self, axis: int) -> int:
        shape = self.shape
        if len(shape) > 4:
            message = f"`num`, `channels`, `height` and `width` are those of at most 4 axes, this blob has {len(shape)}"
            raise refusal("AM661", message, help="read `blob.shape` instead")
        return shape[axis] if axis < len(shape) else 1


def same_shape(ours: Blob, theirs: Blob, what: str) -> Diagnostic | None:
    """Why two blobs cannot share memory, or None."""
    if ours.shape == theirs.shape and ours.array().dtype == theirs.array().dtype:
        return None
    return Diagnostic("AM671", f"{what} has the shape {_text(ours.shape)} here and {_text(theirs.shape)} there")


def _text(shape: Shape) -> str:
    return f"({', '.join(map(str, shape[: MOST_AXES + 1]))})"
