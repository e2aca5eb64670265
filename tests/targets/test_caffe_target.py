"""The Caffe target: what is written reads back, and deploy and fake-quant compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from amctc.dialects.caffe.schema import caffe_schema
from amctc.ir import Graph
from amctc.runtime.executor import Executor
from amctc.targets.caffe.target import CaffeTarget
from amctc.text.proto_schema import load_schema
from tests.nets import conv, data, layer, make_net
from tests.quantized import quantize, random_feeds, write_and_read

ALL = (
    data("2 4 12 12")
    + conv("c1", "data", 6, more="pad: 1")
    + layer("bn", "BatchNorm", "c1", "c1", "batch_norm_param { use_global_stats: true }")
    + layer("scale", "Scale", "c1", "c1", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "c1", "c1")
    + conv("dw", "c1", 6, type="DepthwiseConv", more="pad: 1 stride: 2")
    + conv("grouped", "c1", 6, more="pad: 2 dilation: 2 group: 2 stride: 2")
    + layer("sum", "Eltwise", "dw grouped", "sum", "eltwise_param { coeff: 1 coeff: -0.5 }")
    + layer("max", "Pooling", "sum", "max", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + conv("up", "max", 5, kernel=4, type="Deconvolution", more="stride: 2 pad: 1")
    + layer("drop", "Dropout", "up", "up")
    + layer("fc", "InnerProduct", "up", "fc", "inner_product_param { num_output: 7 }")
    + layer("prob", "Softmax", "fc", "prob")
)

POLICIES = {
    "defaults": "",
    "symmetric": "activation_offset: false",
    "12 bits": "common_config { ifmr_quantize { num_bits: 12 } }",
    "histogram": "common_config { hfmg_quantize { num_of_bins: 1024 asymmetric: false } }",
    "one scale": "common_config { arq_quantize { channel_wise: false } }",
    "ReLU in place is quantized": (
        "override_layer_types { layer_type: 'ReLU' calibration_config { ifmr_quantize { } } }"
    ),
    "no fusion": "do_fusion: false",
    "left-over BatchNorm is quantized": (
        "do_fusion: false override_layer_types { layer_type: 'BatchNorm' calibration_config { ifmr_quantize { } } }"
    ),
}


def compiled(tmp_path: Path, policy: str = "") -> Graph:
    graph = make_net(tmp_path, ALL)
    return quantize(graph, random_feeds(graph, 1, count=2), f"batch_num: 2 {policy}")


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_layer_of_the_deploy_and_fake_quant_models_agrees_to_one_unit(name: str, tmp_path: Path) -> None:
    graph = compiled(tmp_path, POLICIES[name])
    deploy, fake = write_and_read(graph, tmp_path)
    for feeds in random_feeds(graph, seed=9, count=2):
        mine = run_all(graph, feeds)
        one, other = run_all(deploy, feeds), run_all(fake, feeds)
        for node in graph.nodes:
            if node.op == "quant.Quantize":
                offset = int(str(node.attrs["offset"]))
                apart = np.abs(one[node.name].astype(np.int64) - offset - other[node.name].astype(np.int64))
                assert apart.max() <= 1, node.name
                assert (mine[node.name] == one[node.name]).all()
        assert np.abs(one["prob"] - other["prob"]).max() < 1e-5


def run_all(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = [value for node in graph.nodes for value in node.outputs]
    return {value.producer.name: array for value, array in Executor(graph, fetch=values).run(feeds).items()}


def test_the_deploy_model_holds_integers_and_the_fake_quant_model_the_same_in_float(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    deploy, fake = write_and_read(graph, tmp_path)
    for name in ("c1", "dw", "grouped", "up", "fc"):
        integers, floats = deploy.node(name), fake.node(name)
        assert integers.weights["weight"].dtype == np.int8
        assert integers.weights["bias"].dtype == np.int32
        assert floats.weights["weight"].dtype == np.float32
        for role in ("weight", "bias"):
            assert (floats.weights[role] == integers.weights[role].astype(np.float32)).all()
            assert (integers.weights[role] == graph.node(name).weights[role]).all()
        scale = graph.node(f"{name}.dequant").weights["deq_scale"]
        assert (deploy.node(f"{name}.dequant").weights["deq_scale"] == scale).all()
        assert (fake.node(f"{name}.dequant").weights["deq_scale"] == scale).all()


def test_a_written_model_reads_back_and_writes_the_same_bytes(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    first = CaffeTarget().emit(graph)
    deploy, fake = write_and_read(graph, tmp_path)
    for read, kind in ((deploy, "deploy"), (fake, "fake_quant")):
        again = CaffeTarget().emit(read)
        assert again[f"{kind}_weights.caffemodel"] == first[f"{kind}_weights.caffemodel"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    assert CaffeTarget().emit(compiled(tmp_path)) == CaffeTarget().emit(compiled(tmp_path))


def test_an_independent_reader_accepts_the_prototxt_and_the_caffemodel(tmp_path: Path) -> None:
    files = CaffeTarget().emit(compiled(tmp_path))
    net: Any = caffe_schema().message("caffe.NetParameter")()
    text_format.Parse(files["deploy_model.prototxt"].decode(), net)
    types = [layer.type for layer in net.layer]
    assert types.count("Quant") == 8
    assert types.count("DeQuant") == 5
    quant = next(layer for layer in net.layer if layer.name == "c1.quant")
    assert quant.quant_param.object_layer == "c1"
    weights: Any = caffe_schema().message("caffe.NetParameter")()
    weights.ParseFromString(files["deploy_weights.caffemodel"])
    blobs = {layer.name: layer.blobs for layer in weights.layer}
    assert len(blobs["c1"][0].int8_data) == 6 * 4 * 3 * 3
    assert len(blobs["c1"][1].int32_data) == 6
    assert len(blobs["c1.dequant"][0].uint64_data) == 6


def test_the_records_hold_the_factors_of_every_layer(tmp_path: Path) -> None:
    graph = compiled(tmp_path)
    files = CaffeTarget().emit(graph)
    record: Any = load_schema("amct_record.proto").message("amct_record.ScaleOffsetRecord")()
    text_format.Parse(files["scale_offset_record.txt"].decode(), record)
    entries = {entry.key: entry.value for entry in record.record}
    quant = graph.node("sum").quant
    assert quant is not None
    assert [(d.index, d.offset_d) for d in entries["sum"].record_d] == [(q.index, q.offset) for q in quant.inputs]
    assert not entries["sum"].scale_w
    assert len(entries["c1"].scale_w) == 6
    assert list(entries["c1"].offset_w) == [0] * 6
    first = entries["c1"].record_d[0]
    assert (first.channels, first.height, first.width, first.num_bits_d) == (4, 12, 12, 8)

    param: Any = load_schema("quant_param.proto").message("calibration.CalibrationParam")()
    text_format.Parse(files["quant_param_record.txt"].decode(), param)
    binary: Any = load_schema("quant_param.proto").message("calibration.CalibrationParam")()
    binary.ParseFromString(files["quant_param_record.bin"])
    assert binary == param
    layers = {layer.name: layer.quant_param for layer in param.layer}
    assert layers["c1"].input[0].scale[0] == pytest.approx(1 / first.scale_d, rel=1e-6)
    assert layers["c1"].weight.scale[2] == pytest.approx(1 / entries["c1"].scale_w[2], rel=1e-6)


def test_the_quant_info_maps_layers_to_those_of_the_original(tmp_path: Path) -> None:
    info = json.loads(CaffeTarget().emit(compiled(tmp_path))["quant.json"])
    layers = {layer["name"]: layer for layer in info["layers"]}
    assert layers["c1"]["original"] == ["c1", "bn", "scale"]
    assert layers["c1"]["output"] == "scale"
    assert layers["c1"]["dequant"] == "c1.dequant"
    assert [given["quant"] for given in layers["sum"]["inputs"]] == ["sum.quant.0", "sum.quant.1"]
    assert {"name": "c1.quant", "type": "Quantize", "layer": "c1"} in info["inserted"]


def test_an_unknown_field_of_the_source_is_still_there(tmp_path: Path) -> None:
    text = data() + layer("relu", "ReLU", "data", "relu", "strange_param { level: 3 word: 'x' mode: FAST }")
    text += layer("pool", "Pooling", "relu", "pool", "pooling_param { pool: MAX kernel_size: 2 }")
    graph = quantize(make_net(tmp_path, text), random_feeds(make_net(tmp_path, text), 1))
    written = CaffeTarget().emit(graph)["deploy_model.prototxt"].decode()
    assert "strange_param {" in written
    assert "level: 3" in written
    assert "mode: FAST" in written
