"""`aclgrph_calibration`: the graph that comes of it, in place, and the status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amctc
from amctc.air.files import read_air
from amctc.air.verify import verify_air
from amctc.compat import acl
from amctc.diagnostics import Level
from amctc.driver import compile, export
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.quantization import NodeQuant
from amctc.policy import Policy, Said
from amctc.policy.flavours import GE
from amctc.records.read_record import read_record
from tests.compat.acl.desk import KEYS, calibrate, float_graph, images, quant_ops, refusal
from tests.nets import conv, data, layer, write_net
from tests.shared_files import ASSETS, GOLDEN, needs_assets, needs_golden


def test_a_graph_becomes_the_quantized_one_in_place(desk: Path) -> None:
    graph = float_graph()
    net = graph.net
    assert calibrate(graph=graph) == acl.GRAPH_SUCCESS == 0
    assert graph.net is net
    assert quant_ops(net).count("quant.Quantize") >= 2 and "quant.Dequantize" in quant_ops(net)
    assert all(node.graph is net for node in net.nodes)
    assert net.node("conv1").weights["weight"].dtype == np.int8


def test_a_graph_of_our_own_is_changed_in_place_too(desk: Path) -> None:
    net = load_model("net_model.air")
    first = net.node("conv1")
    assert calibrate(graph=net) == acl.GRAPH_SUCCESS
    assert "quant.Dequantize" in quant_ops(net)
    assert first not in net.nodes
    found = amctc.run(net, {"data": images(2)})
    assert found["prob"].shape == (2, 5)


def test_a_caffe_network_becomes_a_quantized_ge_graph(desk: Path, tmp_path: Path) -> None:
    net = load_model(*write_net(tmp_path, data("2 3 8 8") + conv("conv1", "data", 4)))
    assert calibrate(graph=net) == acl.GRAPH_SUCCESS
    assert {node.dialect for node in net.nodes} == {"ge", "quant"}


def test_it_is_what_compile_gives(desk: Path) -> None:
    graph = float_graph()
    assert calibrate(graph=graph) == acl.GRAPH_SUCCESS
    assert graph.save_to_file("by_api.air") == acl.GRAPH_SUCCESS
    made = compile(
        "net_model.air",
        policy=Policy(flavour=GE, batch_num=Said(3)),
        data={"data": images()},
        target="ge",
        output="by_compile",
    )
    assert read_air("by_api.air") == read_air("by_compile_deploy_model.air")
    assert {node.name: node.quant for node in made.graph} == {node.name: node.quant for node in graph.net}


def test_what_is_written_passes_the_loaders_rules_and_reads_back(desk: Path) -> None:
    graph = float_graph()
    calibrate(graph=graph)
    graph.save_to_file("quantized.air")
    assert not [found for found in verify_air(read_air("quantized.air")) if found.level is Level.ERROR]
    again = acl.Graph()
    assert again.load_from_file("quantized.air") == acl.GRAPH_SUCCESS
    feeds = {"data": images(2)}
    assert np.array_equal(amctc.run(graph.net, feeds, ["prob"])["prob"], amctc.run(again.net, feeds, ["prob"])["prob"])


@needs_assets
@pytest.mark.parametrize(("net", "side", "channels"), [("mnist_lenet", 28, 1), ("cifar10_resnet20", 32, 3)])
def test_the_scales_are_those_of_the_direct_path(
    net: str, side: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ASSETS / "caffe" / net
    model, (weights,) = folder / "deploy.prototxt", folder.glob("*.caffemodel")
    samples = images(8, (channels, side, side))
    samples.tofile("samples.bin")
    export(model, weights, target="ge", output="net")
    graph = acl.Graph()
    assert graph.load_from_file("net_model.air") == acl.GRAPH_SUCCESS
    keys = {
        "INPUT_DATA_DIR": "samples.bin",
        "INPUT_SHAPE": f"data:4,{channels},{side},{side}",
        "SOC_VERSION": "Ascend310",
    }
    assert acl.aclgrph_calibration(graph, keys) == acl.GRAPH_SUCCESS
    policy = Policy(batch_num=Said(2))
    direct = compile(model, weights, policy=policy, data={"data": samples}, batch_size=4, output="direct")
    wanted, found = _factors(direct.graph), _factors(graph.net)
    linear = {node.name for node in load_model(model, weights) if node.type in ("Convolution", "InnerProduct")}
    assert found.keys() >= linear and wanted.keys() >= found.keys()
    for name in found:
        assert found[name].weight == wanted[name].weight, name
        for one, other in zip(found[name].inputs, wanted[name].inputs, strict=True):
            # The direct path looks at more values, so that fewer layers are run as one: a last bit may differ.
            assert one.offset == other.offset and one.scale == pytest.approx(other.scale, rel=1e-6), name
    assert graph.save_to_file("quantized.air") == acl.GRAPH_SUCCESS
    feeds = {"data": samples[:4]}
    (scores,) = amctc.run(load_model("quantized.air"), feeds, [graph.net.outputs[0].blob]).values()
    (again,) = amctc.run(graph.net, feeds, [graph.net.outputs[0].blob]).values()
    assert np.array_equal(scores, again)


def _factors(graph: Graph) -> dict[str, NodeQuant]:
    return {node.name: node.quant for node in graph if node.quant is not None}


def test_a_policy_with_batch_num_reads_so_many(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("two.cfg").write_text("batch_num: 2\n", encoding="utf-8")
    graph, other = float_graph(), float_graph()
    assert calibrate({"CONFIG_FILE": "two.cfg"}, graph) == acl.GRAPH_SUCCESS
    assert "was given 2 batches" in capsys.readouterr().err
    images()[:4].tofile("data.bin")
    assert calibrate(graph=other) == acl.GRAPH_SUCCESS
    assert {node.name: node.quant for node in graph.net} == {node.name: node.quant for node in other.net}
    Path("two.cfg").write_text("batch_num: 3\n", encoding="utf-8")
    assert "error[AM403]" in refusal(capsys, {"CONFIG_FILE": "two.cfg"})


def test_a_config_of_ge_s_language_is_followed(desk: Path) -> None:
    Path("ge.cfg").write_text('skip_layers: "fc"\nversion: 1\n', encoding="utf-8")
    graph = float_graph()
    assert calibrate({"CONFIG_FILE": "ge.cfg"}, graph) == acl.GRAPH_SUCCESS
    assert graph.net.node("fc").quant is None and graph.net.node("conv1").quant is not None


def test_mistakes_in_the_config_are_told_at_their_place(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.cfg").write_text('skip_layers: "conv9"\n', encoding="utf-8")
    text = refusal(capsys, {"CONFIG_FILE": "bad.cfg"})
    assert "error[AM220]" in text and "bad.cfg:1:14" in text
    assert "error[AM100]" in refusal(capsys, {"CONFIG_FILE": "none.cfg"})


def test_a_config_of_training_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("qat.cfg").write_text("retrain_data_quant_config { ulq_quantize { } }\n", encoding="utf-8")
    assert "error[AM290]" in refusal(capsys, {"CONFIG_FILE": "qat.cfg"})


def test_a_graph_with_quant_ops_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = float_graph()
    assert calibrate(graph=graph) == acl.GRAPH_SUCCESS
    assert "error[AM332]: this model is quantized already" in refusal(capsys, {}, graph)


@pytest.mark.parametrize("type", ["AscendRequant", "AscendQuantV2", "QuantBatchMatmulV3", "TransQuantParamV2", "IFMR"])
def test_quant_ops_that_are_only_kept_are_refused_too(
    type: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = float_graph()
    net = graph.net
    made = net.insert_after(net.node("relu1").output, "extra", f"ge.{type}")
    assert made.type == type
    assert f"layer `extra`, its type is {type}" in refusal(capsys, {}, graph)


@needs_golden
@pytest.mark.parametrize("generation", ["metadef2021", "ge2026"])
def test_the_recorded_quantized_graph_is_refused(generation: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph = acl.Graph()
    assert graph.load_from_file(GOLDEN / f"ge/{generation}_02_quantized_nchw.air") == acl.GRAPH_SUCCESS
    assert "error[AM332]" in refusal(capsys, {"INPUT_SHAPE": "data:1,3,8,8"}, graph)


@needs_golden
@pytest.mark.parametrize("generation", ["metadef2021", "ge2026"])
@pytest.mark.parametrize(
    ("file", "shape", "layout"), [("01_conv_nchw", "1,3,8,8", "NCHW"), ("04_conv_nhwc", "1,8,8,3", "NHWC")]
)
def test_the_recorded_float_graphs_are_quantized(
    generation: str, file: str, shape: str, layout: str, desk: Path
) -> None:
    graph = acl.Graph()
    assert graph.load_from_file(GOLDEN / f"ge/{generation}_{file}.air") == acl.GRAPH_SUCCESS
    assert calibrate({"INPUT_SHAPE": f"data:{shape}", "INPUT_FORMAT": layout}, graph) == acl.GRAPH_SUCCESS
    assert graph.save_to_file("out.air") == acl.GRAPH_SUCCESS
    assert not [found for found in verify_air(read_air("out.air")) if found.level is Level.ERROR]
    types = [op.type for op in read_air("out.air").graph[0].op]
    assert types.count("AscendQuant") == types.count("AscendDequant") == 1


def test_a_graph_without_layers_to_quantize_is_not_changed(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "relu.prototxt").write_text(data("2 3 8 8") + layer("relu1", "ReLU", "data", "relu1"))
    export(tmp_path / "relu.prototxt", target="ge", output="relu")
    graph = acl.Graph()
    assert graph.load_from_file("relu_model.air") == acl.GRAPH_SUCCESS
    assert calibrate(graph=graph) == acl.GRAPH_NOT_CHANGED == 1343242304
    assert not quant_ops(graph.net)
    assert "nothing is done: the model has no layer that can be quantized" in capsys.readouterr().err


def test_a_config_that_skips_everything_changes_nothing(desk: Path) -> None:
    Path("none.cfg").write_text('skip_layer_types: ["Conv2D", "FullyConnection"]\n', encoding="utf-8")
    graph = float_graph()
    assert calibrate({"CONFIG_FILE": "none.cfg"}, graph) == acl.GRAPH_NOT_CHANGED
    assert not quant_ops(graph.net)


def test_an_empty_graph_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "error[AM884]: the graph is empty" in refusal(capsys, {}, acl.Graph())


def test_what_is_no_graph_and_no_mapping_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call: Any = acl.aclgrph_calibration
    assert call("net_model.air", KEYS) == acl.GRAPH_FAILED
    assert "error[AM882]: `graph` is of type `str`" in capsys.readouterr().err
    assert call(None, KEYS) == acl.GRAPH_FAILED
    assert call(float_graph(), None) == acl.GRAPH_FAILED
    assert "error[AM882]: the keys are of type `NoneType`" in capsys.readouterr().err


def test_a_layer_that_cannot_be_run_is_told(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = float_graph()
    graph.net.insert_after(graph.net.node("conv1").output, "strange", "ge.Unheard")
    assert "error[AM436]: layer `strange` (Unheard)" in refusal(capsys, {}, graph)


class TestOutputs:
    def test_they_become_the_graph_s(self, desk: Path) -> None:
        graph = float_graph()
        assert calibrate({"OUT_NODES": "relu1:0;fc"}, graph) == acl.GRAPH_SUCCESS
        assert graph.save_to_file("out.air") == acl.GRAPH_SUCCESS
        names = list(read_air("out.air").graph[0].output)
        assert len(names) == 2 and names[0] == "relu1:0"
        again = load_model("out.air")
        assert len(again.outputs) == 2

    def test_the_last_layer_named_ends_the_graph(self, desk: Path) -> None:
        graph = float_graph()
        assert calibrate({"OUT_NODES": '"fc:0"'}, graph) == acl.GRAPH_SUCCESS
        assert [value.producer.graph is graph.net for value in graph.net.outputs] == [True]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("fcc:0", "the graph has no node `fcc`"),
            ("fc:1", "`fc` has no output 1: it has 1"),
            ("fc:x", "the graph has no node `fc`"),
            ("fc;fc:0", "`fc:0` is named twice"),
            (";fc", "`OUT_NODES` has an entry with nothing in it"),
        ],
    )
    def test_wrong_ones_are_told(self, text: str, said: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert said in refusal(capsys, {"OUT_NODES": text})

    @needs_golden
    @pytest.mark.parametrize("generation", ["metadef2021", "ge2026"])
    def test_a_net_output_node_follows(self, generation: str, desk: Path) -> None:
        graph = acl.Graph()
        assert graph.load_from_file(GOLDEN / f"ge/{generation}_01_conv_nchw.air") == acl.GRAPH_SUCCESS
        more = {"INPUT_SHAPE": "data:1,3,8,8", "OUT_NODES": "conv1:0"}
        assert calibrate(more, graph) == acl.GRAPH_SUCCESS
        assert graph.save_to_file("out.air") == acl.GRAPH_SUCCESS
        assert not [found for found in verify_air(read_air("out.air")) if found.level is Level.ERROR]
        assert len(load_model("out.air").outputs) == 1


def test_the_graph_keeps_its_own_batch(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = float_graph()
    assert calibrate({"INPUT_SHAPE": "data:3,3,8,8"}, graph) == acl.GRAPH_SUCCESS
    assert "was given 2 batches of [3, 3, 8, 8]" in capsys.readouterr().err
    assert graph.net.node("data").output.shape == (2, 3, 8, 8)
    graph.save_to_file("out.air")
    (op,) = (op for op in read_air("out.air").graph[0].op if op.type == "Data")
    assert list(op.output_desc[0].shape.dim) == [2, 3, 8, 8]


def test_a_replaced_graph_takes_over_everything() -> None:
    first, second = Graph("first"), Graph("second")
    made = second.add("a", "ge.Relu", [second.add("x", "ge.Data").output])
    second.outputs, second.attrs = [made.output], {"k": 1}
    first.take_over(second)
    assert (first.name, first.attrs, [node.name for node in first.nodes]) == ("second", {"k": 1}, ["x", "a"])
    assert first.outputs == [made.output] and made.inputs == (first.node("x").output,)
    first.add("b", "ge.Relu", [made.output])
    assert len(first) == 3


def test_the_log_dump_and_the_record_agree(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", "2")
    graph = float_graph()
    assert calibrate(graph=graph) == acl.GRAPH_SUCCESS
    (path,) = Path.cwd().glob("amct_log_*/scale_offset_record.txt")
    record = read_record(path)
    assert record is not None
    quantized = {node.name for node in graph.net.nodes if node.quant is not None}
    assert all(name in path.read_text(encoding="utf-8") for name in quantized)
