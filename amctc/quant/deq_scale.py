"""The 64-bit dequant word: bits 31:0 the float32 scale, 39:32 the right shift N, 47:40 the weight offset
(int8).

This is the layout that Ascend's graph engine reads. The upper 16 bits are 0, and N and the offset are 0 as
well in everything that symmetric 8-bit quantization writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST_SHIFT = 16


@dataclass(frozen=True, eq=False)
class DeqScale:
    """What dequant words hold; three arrays of one shape."""

    scale: NDArray[np.float32]
    shift: NDArray[np.uint8]
    offset_w: NDArray[np.int8]


def pack_deq_scale(scale: ArrayLike, shift: ArrayLike = 0, offset_w: ArrayLike = 0) -> NDArray[np.uint64]:
    """The uint64 words of `scale` (`scale_d * scale_w`, float32), of its shape.

    `shift` (0 to 16) and `offset_w` (-128 to 127) broadcast to it; `ValueError` when one is outside.
    """
    scales = np.asarray(scale, dtype=np.float32)
    shifts = np.broadcast_to(np.asarray(shift, dtype=np.int64), scales.shape)
    offsets = np.broadcast_to(np.asarray(offset_w, dtype=np.int64), scales.shape)
    if np.any((shifts < 0) | (shifts > LARGEST_SHIFT)):
        raise ValueError(f"a shift is 0 to {LARGEST_SHIFT}")
    if np.any((offsets < -128) | (offsets > 127)):
        raise ValueError("a weight offset is -128 to 127")
    low = np.ascontiguousarray(scales).view(np.uint32).reshape(scales.shape).astype(np.uint64)
    word = low | (shifts.astype(np.uint64) << np.uint64(32)) | ((offsets & 0xFF).astype(np.uint64) << np.uint64(40))
    return np.asarray(word, dtype=np.uint64)


def unpack_deq_scale(words: NDArray[np.uint64]) -> DeqScale:
    """The parts of uint64 dequant words; each has the shape of `words`."""
    scale = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    shift = ((words >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8)
    offset_w = ((words >> np.uint64(40)) & np.uint64(0xFF)).astype(np.uint8).view(np.int8)
    return DeqScale(scale, shift, offset_w)
