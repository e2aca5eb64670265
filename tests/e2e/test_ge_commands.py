"""The commands on GE graphs, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from amctc.air.files import air_bytes
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.records.read_record import read_record
from tests.e2e.command import CALIBRATION, MODEL, WEIGHTS, succeed
from tests.e2e.command import amctc as command
from tests.ge_graphs import NCHW, NHWC, GeNet, to_layout, written
from tests.passes.test_ge_passes import bn_inference, scale


def make_files(folder: Path, layout: str, dtype: str) -> None:
    """net.air, data.npz with labels, and quant.cfg."""
    net = GeNet(layout, dtype)
    value = net.relu(scale(net, bn_inference(net, net.conv(net.data(1, 4, 8, 8), 8))))
    value = net.full(net.relu(net.depthwise(net.pool(value, mode=1))), 5)
    graph = net.finish(net.op("SoftmaxV2", [value], name="prob", axes=(1,)))
    (folder / "net.air").write_bytes(air_bytes(written(graph)))
    drawn = np.random.default_rng(0).normal(size=(6, 4, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", data=to_layout(drawn, layout), label=np.arange(6) % 5)
    (folder / "quant.cfg").write_text("do_fusion: true\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", [NCHW, NHWC])
def test_a_graph_is_compiled_converted_run_and_compared(here: Path, layout: str, dtype: str) -> None:
    make_files(here, layout, dtype)
    succeed("compile", "net.air", "--policy", "quant.cfg", "--data", "data.npz", "--output", "out")
    names = ("deploy_model.air", "quant.json", "scale_offset_record.txt")
    assert {path.name for path in here.glob("out_*")} == {f"out_{name}" for name in names}
    quantized = ["conv2d", "depthwiseconv2d", "fullyconnection"] + ["pooling"] * (dtype == "float32")
    assert sorted(layer["name"] for layer in json.loads((here / "out_quant.json").read_text())["layers"]) == sorted(
        quantized
    )
    record = "out_scale_offset_record.txt"
    succeed("convert", "net.air", "--record", record, "--output", "again")
    assert (here / "again_deploy_model.air").read_bytes() == (here / "out_deploy_model.air").read_bytes()
    assert (here / f"again_{record[4:]}").read_text() == (here / record).read_text()

    conv = read_record(record).by_name["conv2d"].inputs[0]
    assert (conv.channels, conv.height, conv.width) == (4, 8, 8)

    succeed("run", "net.air", "--data", "data.npz", "--output", "float.npz")
    succeed("run", "out_deploy_model.air", "--data", "data.npz", "--output", "deploy.npz")
    with np.load("float.npz") as floats, np.load("deploy.npz") as integers:
        assert list(floats) == list(integers) == ["prob"]
        np.testing.assert_allclose(integers["prob"].astype(np.float32), floats["prob"].astype(np.float32), atol=0.02)
    table = succeed("compare", "net.air", "out_deploy_model.air", "--data", "data.npz")
    assert "prob" in table
    assert "top-1" in succeed("eval", "out_deploy_model.air", "--data", "data.npz", "--labels", "label")
    assert "quant.Dequantize" in succeed("print", "out_deploy_model.air")


def test_policies_are_checked_and_explained_against_a_graph(here: Path) -> None:
    make_files(here, NCHW, "float32")
    succeed("check", "quant.cfg", "--model", "net.air")
    (here / "wrong.cfg").write_text('skip_layer_types: "Conv2d"\n')
    found = command("check", "wrong.cfg", "--model", "net.air")
    assert found.status == 1
    assert "did you mean `Conv2D`?" in found.stderr + found.stdout
    lines = succeed("explain", "net.air", "--policy", "quant.cfg").splitlines()
    assert [line.split("\t")[:3] for line in lines if "\tyes\t" in line] == [
        ["conv2d", "Conv2D", "yes"],
        ["pooling", "Pooling", "yes"],
        ["depthwiseconv2d", "DepthwiseConv2D", "yes"],
        ["fullyconnection", "FullyConnection", "yes"],
    ]
    succeed("config", "net.air", "--output", "layers.json")
    succeed("compile", "net.air", "--policy", "layers.json", "--data", "data.npz", "--output", "json")
    succeed("compile", "net.air", "--policy", "quant.cfg", "--data", "data.npz", "--output", "cfg")
    assert (here / "json_deploy_model.air").read_bytes() == (here / "cfg_deploy_model.air").read_bytes()


def test_a_float_graph_is_exported_to_ge_and_onnx_but_not_to_caffe(here: Path) -> None:
    make_files(here, NHWC, "float32")
    succeed("export", "net.air", "--target", "ge,onnx", "--output", "same")
    assert (here / "same_model.air").read_bytes() == (here / "net.air").read_bytes()
    succeed("export", "net.air", "--target", "ge", "--pipeline", "float", "--output", "clean")
    for model in ("same_model.onnx", "clean_model.air"):
        succeed("run", model, "--data", "data.npz", "--output", f"{model}.npz")
    succeed("run", "net.air", "--data", "data.npz", "--output", "net.npz")
    with (
        np.load("net.npz") as wanted,
        np.load("same_model.onnx.npz") as first,
        np.load("clean_model.air.npz") as second,
    ):
        np.testing.assert_array_equal(first["prob"], wanted["prob"])
        np.testing.assert_allclose(second["prob"], wanted["prob"], atol=1e-6)
    found = command("export", "net.air", "--target", "caffe", "--output", "net")
    assert found.status == 1
    assert "AM713" in found.stderr
    assert "GE graphs are not written for Caffe" in found.stderr
    assert not list(here.glob("net_*"))


def test_a_quantized_graph_is_written_for_ge_alone(here: Path) -> None:
    make_files(here, NCHW, "float32")
    for target, code in (("caffe", "AM713"), ("onnx", "AM710")):
        found = command(
            "compile", "net.air", "--policy", "quant.cfg", "--data", "data.npz", "--target", target, "--output", "no"
        )
        assert (found.status, code in found.stderr) == (1, True)
    assert not list(here.glob("no_*"))
    usual = ("--policy", "quant.cfg", "--data", "data.npz")
    succeed("compile", "net.air", *usual, "--target", "ge{weight-quant=true}", "--output", "w")
    found = command("compile", "w_deploy_model.air", "--policy", "quant.cfg", "--data", "data.npz", "--output", "x")
    assert "AM332" in found.stderr


def test_only_nets_of_caffe_are_written_without_in_place_layers(here: Path) -> None:
    make_files(here, NCHW, "float32")
    found = command("uninplace", "net.air", "--output", "net.prototxt")
    assert (found.status, "AM331" in found.stderr) == (1, True)


def test_outputs_that_a_dequant_op_gives_are_compared_by_their_position(here: Path) -> None:
    make_files(here, NCHW, "float32")
    net = GeNet()
    value = net.relu(net.data(1, 4, 8, 8))
    graph = net.finish(bn_inference(net, net.conv(value, 8)), net.conv(value, 3))
    (here / "net.air").write_bytes(air_bytes(written(graph)))
    succeed("compile", "net.air", "--policy", "quant.cfg", "--data", "data.npz", "--output", "out")
    rows = succeed("compare", "net.air", "out_deploy_model.air", "--data", "data.npz").splitlines()[1:]
    found = {row.split("\t")[0]: float(row.split("\t")[3]) for row in rows}
    assert found.keys() == {"relu", "bninference=conv2d.dequant", "conv2d_1=conv2d_1.dequant"}
    assert min(found.values()) > 0.999


# -- a network of Caffe by way of a float GE graph -------------------------------------------------


def _integers(graph: Graph) -> dict[str, np.ndarray]:
    return {
        f"{node.name}.{role}": array
        for node in graph.nodes
        for role, array in node.weights.items()
        if array.dtype.kind == "i" and node.dialect != "quant"
    }


def test_a_caffe_network_has_the_same_factors_by_way_of_a_ge_graph(here: Path) -> None:
    succeed("export", str(MODEL), str(WEIGHTS), "--target", "ge", "--output", "digits")
    Path("usual.cfg").write_text("")
    data = ("--data", str(CALIBRATION))
    with np.load(CALIBRATION) as arrays:
        count = len(next(iter(arrays.values())))
    batch = (load_model("digits_model.air").nodes[0].output.shape or (1,))[0]
    Path("caffe.cfg").write_text(f"batch_num: {count // batch}\n")
    succeed("compile", str(MODEL), str(WEIGHTS), "--policy", "caffe.cfg", *data, "--target", "ge", "--output", "direct")
    succeed("compile", "digits_model.air", "--policy", "usual.cfg", *data, "--output", "way")
    direct, way = (load_model(f"{name}_deploy_model.air") for name in ("direct", "way"))
    first, second = _integers(direct), _integers(way)
    assert first.keys() == second.keys()
    for name, array in first.items():
        # What an activation's scale, off by an ulp, may do to the number of a bias.
        np.testing.assert_allclose(second[name], array, rtol=0, atol=name.endswith(".bias"), err_msg=name)
    records = [read_record(f"{name}_scale_offset_record.txt").by_name for name in ("direct", "way")]
    assert len(records[1]) >= len(first) // 2
    for name, layer in records[1].items():
        twin = records[0][name]
        assert layer.scale_w == twin.scale_w
        for each, other in zip(layer.inputs, twin.inputs, strict=True):
            assert (each.index, each.offset, each.bits) == (other.index, other.offset, other.bits)
            np.testing.assert_allclose(each.scale or 0, other.scale or 1, rtol=1e-6)


def test_a_large_model_is_told_of_in_words(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    make_files(here, NCHW, "float32")
    monkeypatch.setattr("amctc.air.files.MAX_MAPPED_BYTES", 4000)
    found = command("export", "net.air", "--target", "ge", "--output", "net")
    assert found.status == 1
    assert "more than 2 GiB" in found.stderr
