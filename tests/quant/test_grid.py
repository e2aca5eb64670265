from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.quant.grid import (
    QuantParams,
    check_scale,
    dequantize,
    fake_quantize,
    quantize,
    scale_offset_from_range,
    storage_dtype,
)
from tests.shared_files import GOLDEN, needs_golden

ALGO = GOLDEN / "amct_pytorch" / "algo"


def table() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((ALGO / "calculate_scale_offset.json").read_text())
    return rows


@needs_golden
def test_scales_and_offsets_of_ranges_are_the_recorded_ones() -> None:
    rows = table()
    assert len(rows) == 140
    for row in rows:
        params = scale_offset_from_range(row["min"], row["max"], row["bits"], row["asymmetric"])
        assert (float(params.scale), int(params.offset)) == (row["scale"], row["offset"]), row


@needs_golden
def test_ranges_of_many_channels_give_what_each_gives_alone() -> None:
    rows = [row for row in table() if row["bits"] == 8 and row["asymmetric"]]
    low, high = [row["min"] for row in rows], [row["max"] for row in rows]
    params = scale_offset_from_range(low, high, 8, with_offset=True)
    assert params.scale.tolist() == [row["scale"] for row in rows]
    assert params.offset.tolist() == [row["offset"] for row in rows]


def test_rounding_is_half_to_even_and_ends_are_clipped() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, 1e30, -1e30], np.float32)
    q = quantize(x, 1.0, 0, 8)
    assert q.dtype == np.int8
    assert q.tolist() == [0, 2, 2, 0, 127, -128]
    assert quantize(x, 1.0, 3, 4).tolist() == [3, 5, 5, 3, 7, -8]


def test_wide_grids_are_stored_in_16_bits() -> None:
    assert [storage_dtype(bits) for bits in (4, 8, 9, 16)] == [np.int8, np.int8, np.int16, np.int16]
    assert quantize([1e9], 1.0, 0, 16).tolist() == [32767]
    with pytest.raises(ValueError, match="2 to 16 bits"):
        storage_dtype(17)


def test_a_grid_per_channel_works_along_its_axis() -> None:
    params = QuantParams(np.array([1, 2], np.float32), np.array([0, 1], np.int32), 8)
    x = np.array([[4.0, 4.0], [6.0, 6.0]], np.float32)
    assert params.quantize(x, axis=0).tolist() == [[4, 4], [4, 4]]
    assert params.quantize(x, axis=1).tolist() == [[4, 3], [6, 4]]
    assert params.dequantize(params.quantize(x, axis=1), axis=1).tolist() == x.tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30),
    st.integers(4, 16),
    st.booleans(),
)
def test_a_value_inside_its_range_moves_by_half_a_step_at_most(data: list[float], bits: int, with_offset: bool) -> None:
    x = np.array(data, np.float32)
    params = scale_offset_from_range(x.min(), x.max(), bits, with_offset)
    back = fake_quantize(x, params.scale, params.offset, bits)
    # Half a step, and half another where the offset itself was rounded.
    assert np.all(np.abs(back - x) <= float(params.scale) * (1.0 if with_offset else 0.5) * 1.001 + 1e-6)
    assert dequantize(params.offset, params.scale, params.offset) == 0


@pytest.mark.parametrize("scale", [np.inf, np.nan, 0.0, 1.1e-7, 8388608.0])
def test_an_illegal_scale_names_the_layer_and_its_range(scale: float) -> None:
    with pytest.raises(DiagnosticError) as caught:
        check_scale(scale, "conv1", (-1.5, 2e30))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "AM410"
    assert "`conv1`" in diagnostic.message
    assert "[-1.5, 2e+30]" in diagnostic.message


def test_an_illegal_scale_of_a_channel_names_the_channel() -> None:
    with pytest.raises(DiagnosticError, match="for channel 1"):
        check_scale([1.0, 1e9], "fc")
    check_scale([1.0, 8e6, 1.2e-7], "fc")
