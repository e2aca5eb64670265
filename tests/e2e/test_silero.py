"""A trained voice detector, an LSTM and a small head, from float files to quantized ones; its outputs are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc.frontends import load_model
from amctc.runtime.executor import Executor, run_graph
from tests.shared_files import ASSETS, needs_assets

SILERO = ASSETS / "caffe" / "silero_lstm"
FRAMES, HALF = 149, 75
SPEECH = 75
"""Of the recorded frames, so many are speech: the detector gives them more than a half."""

Arrays = Mapping[str, NDArray[np.float32]]

pytestmark = needs_assets


def recorded() -> Arrays:
    with np.load(SILERO / "silero_lstm_io.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def compiled(folder: Path, policy: str) -> tuple[Path, Path]:
    """Compile with the first half of the frames as calibration data; the deploy and the fake-quant prototxt."""
    arrays, data, rules = recorded(), folder / "data.npz", folder / "policy.cfg"
    np.savez(data, x=arrays["x"][:HALF], cont=arrays["cont"][:HALF])
    rules.write_text(policy, encoding="utf-8")
    model = SILERO / "silero_lstm.prototxt", SILERO / "silero_lstm.caffemodel"
    amctc.compile(*model, policy=rules, data=data, batch_size=25, output=folder / "out")
    return folder / "out_deploy_model.prototxt", folder / "out_fake_quant_model.prototxt"


def outputs(model: Path) -> Arrays:
    weights = model.with_name(model.name.replace("_model.prototxt", "_weights.caffemodel"))
    arrays = recorded()
    return run_graph(load_model(model, weights), {"x": arrays["x"], "cont": arrays["cont"]}, ["lstm", "prob"])


def test_the_float_model_gives_the_recorded_outputs() -> None:
    graph = load_model(SILERO / "silero_lstm.prototxt", SILERO / "silero_lstm.caffemodel")
    arrays = recorded()
    found = run_graph(graph, {"x": arrays["x"], "cont": arrays["cont"]})
    assert np.abs(found["lstm"] - arrays["lstm_ref"]).max() < 5e-6
    assert np.abs(found["prob"].ravel() - arrays["prob_ref"]).max() < 2e-6


def test_the_float_model_can_be_given_the_sound_in_pieces() -> None:
    graph = load_model(SILERO / "silero_lstm.prototxt", SILERO / "silero_lstm.caffemodel")
    arrays = recorded()
    executor = Executor(graph)
    parts = [
        executor.run({name: arrays[name][start : start + 20] for name in ("x", "cont")})
        for start in range(0, FRAMES, 20)
    ]
    found = np.concatenate([array.ravel() for part in parts for array in part.values()])
    assert np.abs(found - arrays["prob_ref"]).max() < 2e-6


@pytest.mark.parametrize(
    ("policy", "largest", "mean"),
    [("", 0.08, 0.0025), ("common_config { ifmr_quantize { num_bits: 16 } }", 0.06, 0.0025)],
    ids=["8 bits", "16 bits"],
)
def test_the_quantized_model_still_tells_speech_from_silence(
    policy: str, largest: float, mean: float, tmp_path: Path
) -> None:
    expected = recorded()["prob_ref"]
    assert (expected.size, int((expected > 0.5).sum())) == (FRAMES, SPEECH)
    deploy, fake = (outputs(model) for model in compiled(tmp_path, f"batch_num: 3\n{policy}\n"))
    assert np.array_equal(deploy["lstm"], fake["lstm"])
    assert np.array_equal(deploy["prob"], fake["prob"])
    error = np.abs(deploy["prob"].ravel() - expected)
    assert np.array_equal(deploy["prob"].ravel() > 0.5, expected > 0.5)
    assert error.max() < largest
    assert error.mean() < mean


def test_the_lstm_of_the_deploy_model_holds_integers(tmp_path: Path) -> None:
    deploy, _ = compiled(tmp_path, "batch_num: 3\n")
    node = load_model(deploy, tmp_path / "out_deploy_weights.caffemodel").node("lstm")
    assert [array.dtype.name for array in node.weights.values()] == ["int8", "int32", "int8"]
    assert (tmp_path / "out_deploy_weights.caffemodel").stat().st_size < 0.27 * (
        SILERO / "silero_lstm.caffemodel"
    ).stat().st_size
