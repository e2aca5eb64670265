"""Two 4-bit codes in a byte: how the codes of non-uniform weights are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CODE_BITS = 4
LARGEST_CODE = (1 << CODE_BITS) - 1


def packed_size(count: int) -> int:
    """The bytes that `count` codes take."""
    return (count + 1) // 2


def pack_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes 0 to 15 of any shape, in row-major order, as uint8 `[ceil(n / 2)]`.

    The code with the even index is the low half of its byte, the next one the high half; behind an odd number of
    codes the last high half is 0. `ValueError` for a code above 15.
    """
    flat = np.ascontiguousarray(codes, dtype=np.uint8).reshape(-1)
    if flat.size and int(flat.max()) > LARGEST_CODE:
        raise ValueError(f"a code is at most {LARGEST_CODE}, not {int(flat.max())}")
    packed = flat[0::2].copy()
    packed[: flat.size // 2] |= flat[1::2] << np.uint8(CODE_BITS)
    return packed


def unpack_codes(packed: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The `count` codes that `pack_codes` put into `packed` (uint8 of any shape), as uint8 `[count]`.

    `ValueError` if `packed` is not exactly as long as `count` codes need, or if the half that is left over is not
    0: such bytes are not ours. What is allocated is bounded by `packed`, not by `count`.
    """
    flat = np.ascontiguousarray(packed, dtype=np.uint8).reshape(-1)
    if count < 0 or flat.size != packed_size(count):
        raise ValueError(f"{flat.size} bytes do not hold {count} codes of {CODE_BITS} bits")
    codes = np.empty(2 * flat.size, dtype=np.uint8)
    np.bitwise_and(flat, np.uint8(LARGEST_CODE), out=codes[0::2])
    np.right_shift(flat, np.uint8(CODE_BITS), out=codes[1::2])
    if codes[count:].any():
        raise ValueError("the half byte behind the last code is not 0")
    return codes[:count]
