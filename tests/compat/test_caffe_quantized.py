"""Calibration, fake-quant and deploy models in `caffe.Net`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.records.read_record import read_record
from amctc.records.scale_offset import layer_records
from amctc.runtime.executor import run_graph
from amctc.targets.caffe.calibration_model import calibration_model
from tests.nets import conv, data, layer, write_net
from tests.quantized import quantize, run_passes, write_and_read

BATCHES = 3
TEXT = (
    data("4 3 12 12")
    + conv("conv1", "data", 6)
    + layer("relu1", "ReLU", "conv1", "conv1")
    + conv("left", "conv1", 6, more="pad: 1")
    + conv("right", "conv1", 6, kernel=1)
    + layer("sum", "Eltwise", "left right", "sum")
    + layer("relu2", "ReLU", "sum", "sum")
    + layer("norm", "TanH", "left", "norm")
    + layer("fc", "InnerProduct", "sum", "fc", "inner_product_param { num_output: 5 }")
    + layer("prob", "Softmax", "fc", "prob")
)
"""`norm` reads a convolution that is also added to another: without it, ONNX Runtime computes the two together."""

BEFORE = "fuse-batchnorm,depthwise-affine,annotate-quant,quantize-weights,observe"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and logs are written where the script runs."""
    monkeypatch.chdir(tmp_path)
    log.close()


def batches() -> list[dict[str, Any]]:
    rng = np.random.default_rng(8)
    return [{"data": rng.normal(size=(4, 3, 12, 12)).astype(np.float32)} for _ in range(BATCHES)]


def loaded(folder: Path) -> Graph:
    return load_model(*write_net(folder, TEXT))


def calibration_net(folder: Path) -> caffe.Net:
    graph = loaded(folder)
    run_passes(graph, BEFORE)
    made = calibration_model(graph, batch_num=BATCHES, record_file="tmp/record.txt")
    (folder / "calibration.prototxt").write_text(made.prototxt)
    (folder / "calibration.caffemodel").write_bytes(made.caffemodel)
    return caffe.Net("calibration.prototxt", "calibration.caffemodel", caffe.TEST)


def test_a_calibration_model_writes_the_factors_of_amctc_compile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = calibration_net(tmp_path)
    assert "IFMR" in {each.type for each in net.layers} and net.outputs == ["norm", "prob"]
    for done, batch in enumerate(batches()):
        assert not Path("tmp/record.txt").exists()
        net.forward(**batch)
        assert f"calibration batch {done + 1} of {BATCHES}" in capsys.readouterr().err
    compiled = list(layer_records(quantize(loaded(tmp_path), batches())))
    found = read_record("tmp/record.txt").layers
    assert [each.name for each in found] == [each.name for each in compiled] and len(found) >= 4
    assert [each.inputs for each in found] == [each.inputs for each in compiled]


def test_batches_after_the_last_do_not_count(tmp_path: Path) -> None:
    net = calibration_net(tmp_path)
    for batch in batches():
        net.forward(**batch)
    written = Path("tmp/record.txt").read_bytes()
    net.forward(data=np.full((4, 3, 12, 12), 1000))
    assert Path("tmp/record.txt").read_bytes() == written


def test_a_calibration_model_computes_as_its_graph_does(tmp_path: Path) -> None:
    net = calibration_net(tmp_path)
    graph = load_model("calibration.prototxt", "calibration.caffemodel")
    found = net.forward(blobs=["conv1", "sum"], **batches()[0])
    expected = run_graph(graph, batches()[0], list(found))
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)


def test_a_part_of_a_calibration_model_feeds_no_observer(tmp_path: Path) -> None:
    net = calibration_net(tmp_path)
    for batch in batches():
        net.blobs["data"].data[...] = batch["data"]
        net.forward(end="relu2")
    assert not Path("tmp/record.txt").exists()


def test_a_calibration_model_is_saved_as_it_is(tmp_path: Path) -> None:
    net = calibration_net(tmp_path)
    net.save("again.caffemodel")
    assert Path("again.caffemodel").read_bytes() == Path("calibration.caffemodel").read_bytes()


def test_what_is_wrong_in_calibration_is_a_runtime_error(tmp_path: Path) -> None:
    net = calibration_net(tmp_path)
    Path("tmp").write_text("a file where the folder should be")
    with pytest.raises(RuntimeError, match="AM700"):
        for batch in batches():
            net.forward(**batch)


@pytest.mark.parametrize("kind", ["deploy", "fake_quant"])
def test_quantized_models_run_and_are_saved(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    deploy, fake = write_and_read(quantize(loaded(tmp_path), batches()), tmp_path)
    model, weights = f"net_{kind}_model.prototxt", f"net_{kind}_weights.caffemodel"
    with caplog.at_level(logging.WARNING):
        net = caffe.Net(model, weights, caffe.TEST)
    assert not caplog.text
    assert {"Quant", "DeQuant"} <= {each.type for each in net.layers}
    found = net.forward(**batches()[0])["prob"].copy()
    np.testing.assert_array_equal(found, run_graph(deploy if kind == "deploy" else fake, batches()[0])["prob"])
    assert net.params["conv1"][0].data.dtype == (np.int8 if kind == "deploy" else np.float32)
    net.save("again.caffemodel")
    again = caffe.Net(model, "again.caffemodel", caffe.TEST)
    assert np.array_equal(again.forward(**batches()[0])["prob"], found)


def test_a_part_of_a_deploy_model_cannot_begin_with_integers(tmp_path: Path) -> None:
    write_and_read(quantize(loaded(tmp_path), batches()), tmp_path)
    net = caffe.Net("net_deploy_model.prototxt", "net_deploy_weights.caffemodel", caffe.TEST)
    net.forward(**batches()[0])
    with pytest.raises(RuntimeError, match=r"AM661[\s\S]*Quant layer"):
        net.forward(start="conv1")
