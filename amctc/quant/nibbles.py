"""Integers of 4 bits, two in a byte: the one with the even index below, the one with the odd index above.

Source: AMCT's deploy models with INT4 weights.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

PACKED: Final = 4
"""Bits of an integer that shares a byte."""


def pack_pairs(values: NDArray[np.int8], axis: int) -> NDArray[np.int8]:
    """Neighbours along an axis of even size (-8 to 7) in one byte; that axis is half as long. ValueError otherwise."""
    if values.shape[axis] % 2:
        raise ValueError(f"an axis of {values.shape[axis]} has no pairs")
    if values.size and not -8 <= int(values.min()) <= int(values.max()) <= 7:
        raise ValueError("a number does not fit into 4 bits")
    moved = np.moveaxis(values, axis, 0).view(np.uint8)
    packed = (moved[0::2] & 0xF) | (moved[1::2] << 4)
    return np.ascontiguousarray(np.moveaxis(packed.view(np.int8), 0, axis))


def unpack_pairs(packed: NDArray[np.int8], axis: int) -> NDArray[np.int8]:
    """The inverse of `pack_pairs`."""
    moved = np.moveaxis(packed, axis, 0)
    found = np.empty((2 * len(moved), *moved.shape[1:]), np.int8)
    found[0::2] = (moved << 4) >> 4
    found[1::2] = moved >> 4
    return np.ascontiguousarray(np.moveaxis(found, 0, axis))
