from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from amctc.diagnostics import DiagnosticError
from amctc.quant.bias import quantize_bias
from amctc.quant.deq_scale import pack_deq_scale, unpack_deq_scale
from tests.shared_files import GOLDEN, needs_golden


def test_a_bias_is_rounded_half_to_even_on_the_product_of_the_scales() -> None:
    bias = np.array([0.5, 1.5, -2.5, 100.0], np.float32)
    assert quantize_bias(bias, 2.0, np.float32(0.5)).tolist() == [0, 2, -2, 100]
    per_channel = quantize_bias(bias, 0.5, np.array([1, 2, 0.25, 8], np.float32))
    assert per_channel.dtype == np.int32
    assert per_channel.tolist() == [1, 2, -20, 25]


@needs_golden
@pytest.mark.parametrize("case", ["default", "ifmr_int16", "ifmr_int16_asym"])
def test_biases_are_the_recorded_ones(case: str) -> None:
    folder = GOLDEN / "amct_pytorch" / "ptq" / case
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(folder / "deploy.onnx").graph.initializer}
    floats = np.load(folder / "calib_out.npz", allow_pickle=False)
    compared = 0
    for record in (folder / "record.txt").read_text().split("record {")[1:]:
        layer = re.findall(r'key: "(.*?)"', record)[0]
        names = [name for name in (f"{layer}.bias", f"{layer}.sub_module.bias") if name in stored]
        if not names:
            continue
        scale_d, scale_w = (
            np.array(re.findall(rf"{field}: (\S+)", record), np.float32) for field in ("scale_d", "scale_w")
        )
        found = quantize_bias(floats[f"w.{layer}.sub_module.bias"], scale_d, scale_w, layer)
        assert np.array_equal(found, stored[names[0]]), layer
        compared += 1
    assert compared == 5


def test_a_bias_that_does_not_fit_names_the_layer_and_the_channel() -> None:
    scales = np.array([1e-3, 1e-7], np.float32)
    with pytest.raises(DiagnosticError, match="`conv2`, channel 1, does not fit 32 bits") as caught:
        quantize_bias(np.array([1.0, 3.0], np.float32), 1e-3, scales, "conv2")
    assert caught.value.diagnostics[0].code == "AM411"
    assert quantize_bias(np.array([-(2.0**31)]), 1.0, 1.0).tolist() == [-(2**31)]
    for outside in (2.0**31, -(2.0**31) * 1.001, np.nan):
        with pytest.raises(DiagnosticError, match="AM411"):
            quantize_bias(np.array([outside]), 1.0, 1.0)


def test_a_dequant_word_of_a_plain_scale_is_its_float_bits() -> None:
    assert pack_deq_scale(1.0) == 0x3F800000
    assert pack_deq_scale(np.float32(0.5), shift=3, offset_w=-3) == 0xFD033F000000


def test_unpacking_a_dequant_word_gives_what_was_packed() -> None:
    scale = np.array([1e-3, 2.5, 7e-6], np.float32)
    words = pack_deq_scale(scale, shift=[0, 16, 1], offset_w=[-128, 127, 0])
    assert words.dtype == np.uint64
    parts = unpack_deq_scale(words)
    assert np.array_equal(parts.scale, scale)
    assert parts.shift.tolist() == [0, 16, 1]
    assert parts.offset_w.tolist() == [-128, 127, 0]


def test_a_shift_or_an_offset_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="shift"):
        pack_deq_scale(1.0, shift=17)
    with pytest.raises(ValueError, match="offset"):
        pack_deq_scale(1.0, offset_w=128)
