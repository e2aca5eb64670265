from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.quant.arq import quantize_weights
from amctc.quant.grid import fake_quantize, quantize, scale_offset_from_range
from tests.shared_files import GOLDEN, needs_golden

ALGO = GOLDEN / "amct_pytorch" / "algo"


def cases(with_offset: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((ALGO / "arq.json").read_text())
    return [row for row in rows if row["with_offset"] is with_offset]


@needs_golden
def test_scales_integers_and_fake_quantized_weights_are_the_recorded_ones() -> None:
    arrays = np.load(ALGO / "arq_arrays.npz", allow_pickle=False)
    compared = 0
    for row in cases(with_offset=False):
        weights, axis = arrays[f"w.{row['weight']}"], 0 if row["channel_wise"] else None
        # The recorded program lets scales above 1 / FLT_EPSILON pass; the manual forbids them, and so do we.
        if "error" in row or row["weight"] == "huge":
            with pytest.raises(DiagnosticError, match="layer `fc`"):
                quantize_weights(weights, axis=axis, bits=row["num_bits"], layer_name="fc")
            continue
        result = quantize_weights(weights, axis=axis, bits=row["num_bits"])
        assert np.array_equal(result.params.scale, np.float32(row["scale"])), row["tag"]
        assert result.values.dtype == np.int8
        assert np.array_equal(result.values, arrays[f"int.{row['tag']}"]), row["tag"]
        assert np.array_equal(result.dequantize(), arrays[f"fq.{row['tag']}"]), row["tag"]
        compared += 1
    assert compared == 48


@needs_golden
def test_the_grid_gives_the_recorded_integers_with_an_offset_too() -> None:
    arrays = np.load(ALGO / "arq_arrays.npz", allow_pickle=False)
    for row in cases(with_offset=True):
        if "error" in row:
            continue
        weights, bits = arrays[f"w.{row['weight']}"], row["num_bits"]
        flat = weights.reshape(weights.shape[0], -1) if row["channel_wise"] else weights.reshape(1, -1)
        params = scale_offset_from_range(flat.min(1, keepdims=True), flat.max(1, keepdims=True), bits, True)
        assert np.array_equal(params.scale.reshape(-1), np.atleast_1d(np.float32(row["scale"]))), row["tag"]
        assert params.offset.reshape(-1).tolist() == np.atleast_1d(row["offset"]).tolist(), row["tag"]
        integers = quantize(flat, params.scale, params.offset, bits).reshape(weights.shape)
        # The recorded integers are round(x / s + o), which in float32 may break a tie the other way.
        differing = integers != arrays[f"int.{row['tag']}"]
        assert np.count_nonzero(differing) <= 1, row["tag"]
        back = fake_quantize(flat, params.scale, params.offset, bits).reshape(weights.shape)
        assert np.allclose(np.where(differing, 0, back), np.where(differing, 0, arrays[f"fq.{row['tag']}"]))


def test_channels_may_lie_on_any_axis() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    last = quantize_weights(np.moveaxis(weights, 0, 2), axis=-1)
    first = quantize_weights(weights, axis=0)
    assert np.array_equal(np.moveaxis(last.values, 2, 0), first.values)
    assert np.array_equal(np.moveaxis(last.dequantize(), 2, 0), first.dequantize())


def test_nan_and_missing_weights_name_the_layer() -> None:
    with pytest.raises(DiagnosticError, match=r"AM412.*`ip1` hold NaN"):
        quantize_weights(np.array([[1.0, np.nan]], np.float32), axis=0, layer_name="ip1")
    with pytest.raises(DiagnosticError, match=r"AM413.*`ip1` has no weights"):
        quantize_weights(np.zeros((0, 3), np.float32), axis=0, layer_name="ip1")
    with pytest.raises(ValueError, match="not 5"):
        quantize_weights(np.ones((1, 1), np.float32), axis=0, bits=5)
