from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from amctc.quant.snq_codes import pack_codes, packed_size, unpack_codes


def test_the_first_code_is_the_low_half_of_a_byte() -> None:
    assert pack_codes(np.array([1, 2, 15], np.uint8)).tolist() == [0x21, 0x0F]
    assert unpack_codes(np.array([0x21, 0x0F], np.uint8), 3).tolist() == [1, 2, 15]


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0), elements=st.integers(0, 15)))
def test_codes_come_back_from_half_as_many_bytes(codes: NDArray[np.uint8]) -> None:
    packed = pack_codes(codes)
    assert packed.shape == (packed_size(codes.size),) == (-(-codes.size // 2),)
    assert np.array_equal(unpack_codes(packed, codes.size), codes.reshape(-1))


@given(arrays(np.uint8, array_shapes(max_dims=1, max_side=20)))
def test_all_bytes_but_those_with_a_half_left_over_come_back(packed: NDArray[np.uint8]) -> None:
    assert np.array_equal(pack_codes(unpack_codes(packed, 2 * packed.size)), packed)


@pytest.mark.parametrize("count", [-1, 0, 2, 5, 10**15])
def test_bytes_that_do_not_hold_the_count_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"2 bytes do not hold {count} codes"):
        unpack_codes(np.array([1, 2], np.uint8), count)


def test_a_code_of_5_bits_and_a_left_over_half_that_is_used_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 15, not 16"):
        pack_codes(np.array([3, 16], np.uint8))
    with pytest.raises(ValueError, match="behind the last code"):
        unpack_codes(np.array([0x21, 0x1F], np.uint8), 3)
