"""A recorded calibration with HFMG, layer by layer, on activations computed here."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from tests.shared_files import GOLDEN, needs_golden

FloatArray = NDArray[np.float32]


def conv(x: NDArray[np.float64], weight: FloatArray, bias: FloatArray) -> NDArray[np.float64]:
    """A convolution with as much padding as keeps the size; depthwise where the kernel has one channel of many."""
    pad = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    if weight.shape[1] < x.shape[1]:
        return np.asarray(np.einsum("nchwij,cij->nchw", windows, weight[:, 0]) + bias[:, np.newaxis, np.newaxis])
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, np.newaxis, np.newaxis])


def activations(weights: dict[str, FloatArray], x: FloatArray) -> dict[str, FloatArray]:
    """What each layer of the recorded network is fed, from the weights in its calibration model."""

    def layer(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return conv(x, weights[f"w.{name}.sub_module.weight"], weights[f"w.{name}.sub_module.bias"])

    into = {"conv1": x.astype(np.float64)}
    into["conv2"] = np.maximum(layer("conv1", into["conv1"]), 0)
    into["dw"] = np.maximum(layer("conv2", into["conv2"]), 0)
    into["conv3"] = np.maximum(layer("dw", into["dw"]), 0)
    into["pool"] = np.maximum(layer("conv3", into["conv3"]) + into["dw"], 0)
    into["fc1"] = into["pool"].reshape(-1, 16, 4, 2, 4, 2).mean(axis=(3, 5)).reshape(-1, 256)
    fc1 = into["fc1"] @ weights["w.fc1.sub_module.weight"].T + weights["w.fc1.sub_module.bias"]
    into["fc2"] = np.maximum(fc1, 0)
    return {name: values.astype(np.float32) for name, values in into.items()}


def recorded_factors(text: str) -> dict[str, tuple[float, int]]:
    found = re.findall(r'key: "(\w+)"\s+value \{\s+scale_d: (\S+)\s+offset_d: (\S+)', text)
    return {name: (float(scale), int(offset)) for name, scale, offset in found}


@needs_golden
@pytest.mark.parametrize("name", ["hfmg", "hfmg_sym", "hfmg_int16"])
def test_a_recorded_network_gets_its_recorded_factors(name: str) -> None:
    folder = GOLDEN / "amct_pytorch" / "ptq" / name
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    weights = dict(np.load(folder / "calib_out.npz", allow_pickle=False))
    batches = np.load(GOLDEN / "amct_pytorch" / "models" / "digits_io.npz", allow_pickle=False)["calib"]
    seen = [activations(weights, batch) for batch in batches[: config["batch_num"]]]
    compared = 0
    for layer, (scale, offset) in recorded_factors((folder / "record.txt").read_text()).items():
        params = config[layer]["activation_quant_params"]
        if params["act_algo"] != "hfmg":
            continue
        options = HfmgSettings(params["num_bits"], params["asymmetric"], params["num_of_bins"])
        observer = HfmgObserver(options, layer)
        for batch in seen:
            observer.update(batch[layer])
        result = observer.finish()
        # The activations are ours, in float64: an end of theirs may be off by a float32 or two.
        assert result.scale == pytest.approx(scale, rel=1e-6), layer
        assert result.offset == offset, layer
        compared += 1
    assert compared >= 5
