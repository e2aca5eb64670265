"""What can be neither split nor taken up again is calibrated by this process, and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import Collector
from amctc.driver.calibrating import Calibrating
from amctc.driver.how_to_calibrate import HowToCalibrate
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.policy.said import Said
from amctc.quant.hfmg import HFMG
from amctc.quant.ifmr import IfmrSettings
from amctc.runtime.calibration import Reader
from amctc.runtime.calibration_data import CalibrationData
from amctc.runtime.datasets import Dataset
from tests.nets import data, make_net
from tests.runtime.sharded import alone, calibration, images, net, parts, readers
from tests.shared_files import ASSETS, needs_assets

LENET = ASSETS / "caffe/mnist_lenet"
RECURRENT = (
    data("5 2 3", "x")
    + data("5 2", "cont")
    + 'layer { name: "rec" type: "LSTM" bottom: "x" bottom: "cont" top: "out" recurrent_param { num_output: 4 } }'
)


def calibrating(how: HowToCalibrate, data: CalibrationData) -> tuple[Calibrating, Collector]:
    told = Collector()

    def identity(data: str) -> Mapping[str, str]:
        return {"data": data}

    return Calibrating(how, data, told, lambda done: None, identity), told


def recurrent(folder: Path) -> tuple[Graph, tuple[Reader, ...], CalibrationData]:
    graph = make_net(folder, RECURRENT)
    rng = np.random.default_rng(1)
    samples = {"x": rng.normal(size=(20, 2, 3)).astype(np.float32), "cont": np.ones((20, 2), np.float32)}
    inputs = {"x": (5, 2, 3), "cont": (5, 2)}
    reader = Reader(graph.node("rec").output, IfmrSettings(), "rec")
    return graph, (reader,), CalibrationData(Dataset.open(samples, inputs=inputs), 5, 4)


def iterator(folder: Path) -> tuple[Graph, tuple[Reader, ...], CalibrationData]:
    graph = net(folder)
    return graph, readers(graph, [HFMG]), calibration(graph, iter(images(8)), 2, 4)


def unknown_length(folder: Path) -> tuple[Graph, tuple[Reader, ...], CalibrationData]:
    graph = net(folder)
    data = calibration(graph, iter(images(8)), 2, 4)
    return graph, readers(graph, ["ifmr"]), CalibrationData(data.dataset, 2, None)


@pytest.mark.parametrize(
    ("made", "how", "why"),
    [
        (recurrent, HowToCalibrate(workers=2), "`rec` goes on from the batch before"),
        (recurrent, HowToCalibrate(checkpoint=Path("kept")), "`rec` goes on from the batch before"),
        (iterator, HowToCalibrate(scheduler="tcp://127.0.0.1:1"), "an iterator can be read only once"),
        (unknown_length, HowToCalibrate(workers=2), "how many batches there are"),
    ],
)
def test_the_reason_is_told_and_the_result_is_the_usual(
    made: Callable[[Path], tuple[Graph, tuple[Reader, ...], CalibrationData]],
    how: HowToCalibrate,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    graph, wanted, data = made(tmp_path)
    one, told = calibrating(how, data)
    found = one.observe(graph, wanted, 4)
    (warning,) = told.warnings
    assert warning.code == "AM472" and why in warning.message
    again = made(tmp_path)
    usual = CalibrationData(again[2].dataset, again[2].batch_size, 4)
    assert parts(found) == alone(again[0], again[1], usual)
    assert not (tmp_path / "kept").exists()


@needs_assets
def test_batch_sizes_change_no_byte_of_lenet(tmp_path: Path) -> None:
    import amctc

    with np.load(ASSETS / "data/mnist_t10k.npz") as arrays:
        samples = arrays["images"][:32, None]
    written: list[dict[str, bytes]] = []
    for size in (1, 4, 32):
        folder = tmp_path / str(size)
        given: dict[str, Any] = {"data": samples, "preprocess": "scale=0.00390625", "batch_size": size}
        policy = Policy(batch_num=Said(32 // size))
        model = (LENET / "deploy.prototxt", LENET / "lenet_iter_10000.caffemodel")
        amctc.compile(*model, policy=policy, output=folder / "net", **given)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(written[0]) >= 6
    assert written[1:] == written[:1] * 2
