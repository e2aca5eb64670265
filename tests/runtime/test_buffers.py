"""Memory that is lent again."""

from __future__ import annotations

import numpy as np

from amctc.runtime.buffers import Buffers


def test_arrays_are_as_they_are_asked_for() -> None:
    array = Buffers().take((2, 3), "int8")
    assert array.shape == (2, 3) and array.dtype == np.int8 and array.flags.c_contiguous
    assert Buffers().take((), "float32").shape == ()
    assert Buffers().take((0, 4), "float32").size == 0


def test_memory_is_lent_again_once_it_is_free() -> None:
    buffers = Buffers()
    first = buffers.take((4, 4), "float32")
    second = buffers.take((8,), "float32")
    assert not np.shares_memory(first, second)
    buffers.keep([second])
    again = buffers.take((3,), "float32")
    assert np.shares_memory(first, again) and not np.shares_memory(second, again)


def test_the_smallest_that_fits_is_lent() -> None:
    buffers = Buffers()
    large, small = buffers.take((100,), "float32"), buffers.take((10,), "float32")
    buffers.keep(())
    assert np.shares_memory(buffers.take((9,), "float32"), small)
    assert np.shares_memory(buffers.take((9,), "float32"), large)


def test_a_view_keeps_its_memory() -> None:
    buffers = Buffers()
    array = buffers.take((4, 4), "float32")
    view = array.reshape(-1)[3:]
    buffers.keep([view])
    assert not np.shares_memory(buffers.take((4, 4), "float32"), view)
