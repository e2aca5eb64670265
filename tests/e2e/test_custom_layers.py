"""Layers that amctc does not know: imported, run by host ops, written to the quantized model as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc.diagnostics import Collector, DiagnosticError, Level
from amctc.dialects.caffe.params import params
from amctc.dialects.custom import registered_types
from amctc.dialects.op import OpError
from amctc.frontends import load_model
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.e2e.command import amctc as command
from tests.e2e.command import succeed
from tests.fork_proto import fork_proto
from tests.nets import conv, data, layer
from tests.shared_files import GOLDEN, needs_golden

Arrays: TypeAlias = tuple[NDArray[Any], ...]

PROTO = """
message LayerParameter {
  optional GainParameter gain_param = 700;
}
message GainParameter {
  enum Kind { PLAIN = 0; LOUD = 1; }
  optional float gain = 1 [default = 2];
  optional Kind kind = 2 [default = PLAIN];
  repeated int32 steps = 3;
}
"""
GAIN = layer("gain", "Gain", "c1", "gain", "gain_param { gain: 3.5 kind: LOUD steps: 1 steps: 2 }")
POLICY = "batch_num: 1\nactivation_offset: true\n"


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    yield
    assert registered_types() == ()


def gain(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> NDArray[Any]:
    parameter: Any = node.attrs["gain_param"]
    shift: Any = node.weights.get("blob0", np.zeros(1, np.float32))
    result: NDArray[Any] = inputs[0] * np.float32(parameter["gain"]) + shift
    return result


def same(node: Node, shapes: tuple[Shape, ...]) -> Sequence[Shape]:
    return shapes[:1]


def write(folder: Path, text: str, blobs: Mapping[str, Sequence[NDArray[Any]]] | None = None) -> tuple[Path, Path]:
    """A prototxt and a caffemodel with these float32 blobs."""
    prototxt, weights = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text, encoding="utf-8")
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    for name, arrays in (blobs or {}).items():
        entry = message.layer.add()
        entry.name = name
        for array in arrays:
            blob = entry.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.append(array.astype(np.float32).tobytes())
    weights.write_bytes(message.SerializeToString())
    (folder / "custom.proto").write_text(PROTO, encoding="utf-8")
    (folder / "policy.cfg").write_text(POLICY, encoding="utf-8")
    np.savez(folder / "data.npz", data=rng().normal(size=(4, 3, 8, 8)).astype(np.float32))
    return prototxt, weights


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def convolution(outputs: int, inputs: int) -> list[NDArray[np.float64]]:
    return [rng().normal(size=(outputs, inputs, 3, 3)), rng().normal(size=outputs)]


IN_THE_MIDDLE = data() + conv("c1", "data", 4) + GAIN + conv("c2", "gain", 5)
AT_THE_END = data() + conv("c1", "data", 4) + layer("relu", "ReLU", "c1", "c1") + GAIN
MIDDLE_BLOBS: dict[str, list[NDArray[np.float64]]] = {
    "c1": convolution(4, 3),
    "gain": [np.array([0.25])],
    "c2": convolution(5, 4),
}


# -- import -------------------------------------------------------------------------------------------


def test_an_unknown_type_is_refused_and_the_help_says_how_to_have_it(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path, AT_THE_END)
    with pytest.raises(DiagnosticError) as caught:
        amctc.load(prototxt)
    (found,) = (d for d in caught.value.diagnostics if d.level is Level.ERROR)
    assert found.code == "AM307"
    assert "--custom-proto" in str(found.help)
    assert 'amctc.register_host_op("Gain"' in str(found.help)


def test_with_a_proto_a_custom_layer_imports_with_its_parameters(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, AT_THE_END, {"c1": convolution(4, 3), "gain": [np.array([0.25])]})
    collector = Collector()
    graph = load_model(prototxt, weights, collector, custom_protos=[tmp_path / "custom.proto"])
    assert collector.diagnostics == []
    node = graph.node("gain")
    assert node.op == "caffe.Gain"
    assert node.attrs == {"gain_param": {"gain": 3.5, "kind": "LOUD", "steps": (1, 2)}}
    assert node.weights["blob0"].tolist() == [0.25]
    assert node.output.shape is None
    assert parse_graph(SourceFile("graph", print_graph(graph))) == graph


def test_a_wrong_value_of_a_custom_parameter_is_told(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path, AT_THE_END.replace("LOUD", "LOUDER"))
    with pytest.raises(DiagnosticError, match="LOUDER"):
        amctc.load(prototxt, custom_protos=[tmp_path / "custom.proto"])


def test_a_host_op_alone_makes_a_type_known_and_its_parameters_are_not_warned_of(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path, AT_THE_END)
    collector = Collector()
    with amctc.register_host_op("Gain", gain):
        graph = load_model(prototxt, None, collector)
    assert collector.diagnostics == []
    assert graph.node("gain").attrs["gain_param"] == {"gain": 3.5, "kind": "LOUD", "steps": (1, 2)}


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("Relu", "ReLU"),
        ("Poling", "Pooling"),
        ("Concats", "Concat"),
        ("Scael", "Scale"),
        ("MyReLU", None),
        ("Gain", None),
    ],
)
def test_a_type_one_letter_off_a_known_one_is_warned_of(tmp_path: Path, kind: str, meant: str | None) -> None:
    prototxt, _ = write(tmp_path, data() + layer("r", kind, "data", "r"))
    collector = Collector()
    load_model(prototxt, None, collector, custom_protos=[tmp_path / "custom.proto"])
    assert [(d.code, d.help) for d in collector.warnings] == ([("AM323", f"did you mean `{meant}`?")] if meant else [])


def test_a_type_that_is_no_name_is_no_custom_layer(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path, data() + layer("r", "My Layer", "data", "r"))
    with pytest.raises(DiagnosticError, match="unknown type `My Layer`"):
        load_model(prototxt, None, custom_protos=[tmp_path / "custom.proto"])


def test_a_custom_layer_may_have_any_number_of_bottoms_and_tops(tmp_path: Path) -> None:
    text = data() + 'layer { name: "a" type: "Two" bottom: "data" bottom: "data" top: "x" top: "y" }'
    text += 'layer { name: "b" type: "Nothing" bottom: "y" }' + 'layer { name: "c" type: "Source" top: "z" }'
    prototxt, _ = write(tmp_path, text)
    graph = amctc.load(prototxt, custom_protos=[tmp_path / "custom.proto"])
    assert [value.blob for value in graph.outputs] == ["x", "z"]


# -- host ops -----------------------------------------------------------------------------------------


def test_without_a_host_op_the_error_says_how_to_register_one(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, AT_THE_END, {"c1": convolution(4, 3)})
    graph = amctc.load(prototxt, weights, custom_protos=[tmp_path / "custom.proto"])
    feeds = {"data": np.ones((2, 3, 8, 8), np.float32)}
    assert amctc.run(graph, feeds, ["c1"])["c1"].shape == (2, 4, 6, 6)
    with pytest.raises(DiagnosticError) as caught:
        amctc.run(graph, feeds, ["gain"])
    (found,) = caught.value.diagnostics
    assert found.code == "AM436"
    assert found.location == f"{prototxt}:4:7"
    assert 'amctc.register_host_op("Gain", run)' in str(found.help)


@pytest.mark.parametrize("infer", [same, None])
def test_a_host_op_in_the_middle_runs_and_what_follows_it_too(tmp_path: Path, infer: Any) -> None:
    prototxt, weights = write(tmp_path, IN_THE_MIDDLE, MIDDLE_BLOBS)
    seen: list[tuple[Shape, ...]] = []

    def run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> NDArray[Any]:
        seen.append(shapes)
        return gain(node, inputs, shapes).astype(np.float64)  # any type of number will do

    with amctc.register_host_op("Gain", run, infer=infer):
        graph = amctc.load(prototxt, weights)
        blobs = amctc.run(graph, {"data": np.ones((3, 3, 8, 8), np.float32)})
    assert (graph.node("c2").output.shape is None) == (infer is None)
    assert seen == [((3, 4, 6, 6),) if infer else ()]
    np.testing.assert_allclose(blobs["gain"], blobs["c1"] * 3.5 + 0.25, rtol=1e-6)
    assert blobs["gain"].dtype == np.float32
    assert blobs["c2"].shape == (3, 5, 4, 4)
    weight = MIDDLE_BLOBS["c2"][0].astype(np.float32)
    first = np.einsum("ocij,cij->o", weight, blobs["gain"][0, :, :3, :3]) + MIDDLE_BLOBS["c2"][1]
    np.testing.assert_allclose(blobs["c2"][0, :, 0, 0], first, rtol=1e-4, atol=1e-4)


def test_weights_behind_a_layer_of_unknown_shape_are_compared_when_it_has_run(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, IN_THE_MIDDLE, MIDDLE_BLOBS)
    with amctc.register_host_op("Gain", lambda node, inputs, shapes: inputs[0][:, :3]):
        graph = amctc.load(prototxt, weights)
        with pytest.raises(DiagnosticError, match=r"its weight has the shape \[5, 4, 3, 3\]") as caught:
            amctc.run(graph, {"data": np.ones((1, 3, 8, 8), np.float32)})
    assert caught.value.diagnostics[0].code == "AM320"


def test_weights_that_fit_no_input_at_all_are_told(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, IN_THE_MIDDLE, {**MIDDLE_BLOBS, "c2": [np.ones((5, 4, 2, 2)), np.ones(5)]})
    with amctc.register_host_op("Gain", gain), pytest.raises(DiagnosticError) as caught:
        amctc.load(prototxt, weights)
    assert caught.value.diagnostics[0].code == "AM319"
    assert "infer" in str(caught.value.diagnostics[0].help)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ((np.ones(1), np.ones(1)), "gives 2 arrays for 1 tops"),
        (["word"], "gives str"),
        (ZeroDivisionError("no"), "failed: ZeroDivisionError: no"),
    ],
)
def test_what_a_host_op_does_wrong_is_told_with_its_layer(tmp_path: Path, result: Any, words: str) -> None:
    def run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    prototxt, weights = write(tmp_path, AT_THE_END, {"c1": convolution(4, 3)})
    with amctc.register_host_op("Gain", run):
        graph = amctc.load(prototxt, weights)
        with pytest.raises(DiagnosticError) as caught:
            amctc.run(graph, {"data": np.ones((1, 3, 8, 8), np.float32)})
    (found,) = caught.value.diagnostics
    assert (found.code, words in found.message, "layer `gain` (Gain)" in found.message) == ("AM434", True, True)


@pytest.mark.parametrize(
    ("infer", "words"),
    [
        (lambda node, shapes: [(1,), (2,)], "gives 2 shapes for 1 tops"),
        (lambda node, shapes: [(1, -2)], "the output would have the shape"),
        (lambda node, shapes: [(2**20, 2**20)], "more than"),
        (lambda node, shapes: shapes[7], "failed: IndexError"),
        (lambda node, shapes: ["x"], "failed: ValueError"),
    ],
)
def test_what_infer_does_wrong_is_told_with_its_layer(tmp_path: Path, infer: Any, words: str) -> None:
    prototxt, _ = write(tmp_path, AT_THE_END)
    with amctc.register_host_op("Gain", gain, infer=infer), pytest.raises(DiagnosticError) as caught:
        amctc.load(prototxt)
    (found,) = caught.value.diagnostics
    assert (found.code, words in found.message) == ("AM320", True), found.message


def test_infer_may_refuse_a_layer(tmp_path: Path) -> None:
    def infer(node: Node, shapes: tuple[Shape, ...]) -> Sequence[Shape]:
        raise OpError("`gain` is too loud")

    prototxt, _ = write(tmp_path, AT_THE_END)
    with (
        amctc.register_host_op("Gain", gain, infer=infer),
        pytest.raises(DiagnosticError, match="`gain` is too loud"),
    ):
        amctc.load(prototxt)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("Convolution", "type `Convolution` itself"), ("a b", "not a layer type"), ("caffe.Gain", "not a layer type")],
)
def test_a_type_that_is_taken_or_no_name_cannot_be_registered(kind: str, words: str) -> None:
    with pytest.raises(DiagnosticError, match=words):
        amctc.register_host_op(kind, gain)


def test_a_registration_ends_once_and_for_all() -> None:
    first = amctc.register_host_op("Gain", gain)
    assert first.name == "Gain"
    first.remove()
    with amctc.register_host_op("Gain", gain):
        first.remove()
        assert registered_types() == ("Gain",)


# -- defaults of a fork -------------------------------------------------------------------------------


def test_a_default_that_differs_in_the_users_proto_is_written_into_the_layer(tmp_path: Path) -> None:
    fork = tmp_path / "fork.proto"
    fork.write_text(
        "message PoolingParameter {\n  enum PoolMethod { MAX = 0; AVE = 1; }\n"
        "  optional PoolMethod pool = 1 [default = AVE];\n  optional uint32 kernel_size = 2;\n"
        "  optional uint32 stride = 3 [default = 2];\n  optional FillerParameter own = 50;\n}\n"
        "message FillerParameter { optional string type = 1; optional float value = 2 [default = 7]; }\n"
        "message ReLUParameter { optional float negative_slope = 1 [default = 0.5]; }\n",
        encoding="utf-8",
    )
    text = data() + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 2 own { } }")
    text += layer("c", "Convolution", "p", "c", "convolution_param { num_output: 1 kernel_size: 1 bias_filler { } }")
    text += layer("r", "ReLU", "c", "r") + layer("d", "Dropout", "r", "d")
    prototxt, _ = write(tmp_path, text)
    graph = amctc.load(prototxt, custom_protos=[fork])
    assert graph.node("p").attrs["pooling_param"] == {"kernel_size": 2, "own": {}, "pool": "AVE", "stride": 2}
    convolution_param: Any = graph.node("c").attrs["convolution_param"]
    assert convolution_param["bias_filler"] == {"type": "", "value": 7.0}
    assert "weight_filler" not in convolution_param
    assert params(graph.node("r"), "relu_param").negative_slope == 0.5
    assert graph.node("d").attrs == {}
    assert amctc.load(prototxt).node("p").attrs["pooling_param"] == {"kernel_size": 2, "own": {}}


@needs_golden
def test_a_prior_box_of_the_fork_means_the_forks_defaults(tmp_path: Path) -> None:
    proto = tmp_path / "fork.proto"
    proto.write_text(fork_proto(leave_out=["detection_output_param"]), encoding="utf-8")
    case = GOLDEN / "caffe_fork" / "layers" / "PriorBox__min_only"
    graph = amctc.load(case.with_suffix(".prototxt"), custom_protos=[proto])
    (node,) = (node for node in graph.nodes if node.type == "PriorBox")
    assert params(node, "prior_box_param").clip
    with np.load(case.with_suffix(".npz")) as arrays:
        feeds = {name.removeprefix("in/"): arrays[name] for name in arrays.files if name.startswith("in/")}
        found = amctc.run(graph, feeds, [node.output.blob])[node.output.blob]
        np.testing.assert_allclose(found, arrays[f"blob/{node.output.blob}"], rtol=2e-6, atol=2e-6)


@needs_golden
def test_the_number_of_the_forks_detection_output_is_atcs_for_another(tmp_path: Path) -> None:
    proto = tmp_path / "fork.proto"
    proto.write_text(fork_proto(), encoding="utf-8")
    case = GOLDEN / "caffe_fork" / "layers" / "PriorBox__min_only.prototxt"
    with pytest.raises(DiagnosticError) as caught:
        amctc.load(case, custom_protos=[proto])
    (found,) = (d for d in caught.value.diagnostics if d.level is Level.ERROR)
    assert found.code == "AM140"
    assert "204 of `detection_output_param` is that of `yolov2_detection_output_param`" in found.message


# -- compiling ----------------------------------------------------------------------------------------


def test_a_custom_layer_at_the_end_needs_no_host_op_to_compile(tmp_path: Path) -> None:
    text = AT_THE_END.replace('"c1" top: "gain"', '"c1" top: "c1"')
    prototxt, weights = write(tmp_path, text, {"c1": convolution(4, 3), "gain": [np.array([0.25])]})
    files: list[str | Path] = [
        "-p",
        tmp_path / "policy.cfg",
        "-d",
        tmp_path / "data.npz",
        "--custom-proto",
        tmp_path / "custom.proto",
    ]
    succeed("compile", prototxt, weights, *files, "-o", tmp_path / "out")
    for kind in ("deploy", "fake_quant"):
        graph = amctc.load(
            tmp_path / f"out_{kind}_model.prototxt",
            tmp_path / f"out_{kind}_weights.caffemodel",
            custom_protos=[tmp_path / "custom.proto"],
        )
        node = graph.node("gain")
        assert node.attrs == {"gain_param": {"gain": 3.5, "kind": "LOUD", "steps": (1, 2)}}
        assert node.weights["blob0"].tolist() == [0.25]
        assert node.output.blob == "c1"
        written = (tmp_path / f"out_{kind}_model.prototxt").read_text(encoding="utf-8")
        assert '"Gain"\n  bottom: "c1"\n  top: "c1"\n  gain_param {\n    gain: 3.5\n    kind: LOUD\n' in written


def test_with_a_host_op_what_lies_behind_a_custom_layer_is_quantized_too(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, IN_THE_MIDDLE, MIDDLE_BLOBS)
    with amctc.register_host_op("Gain", gain, infer=same):
        result = amctc.compile(
            prototxt,
            weights,
            policy=tmp_path / "policy.cfg",
            data=tmp_path / "data.npz",
            output=tmp_path / "out",
            custom_protos=[tmp_path / "custom.proto"],
        )
        assert [node.name for node in result.graph if node.quant is not None] == ["c1", "c2"]
        with np.load(tmp_path / "data.npz") as arrays:
            feeds = {"data": arrays["data"]}
        original = amctc.run(amctc.load(prototxt, weights), feeds, ["c2"])["c2"]
        for kind in ("deploy", "fake_quant"):
            model, blobs = tmp_path / f"out_{kind}_model.prototxt", tmp_path / f"out_{kind}_weights.caffemodel"
            found = amctc.run(amctc.load(model, blobs), feeds, ["c2"])["c2"]
            assert np.abs(found - original).max() < 0.05 * np.abs(original).max()


def test_without_infer_the_filters_behind_a_custom_layer_tell_their_channels(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, IN_THE_MIDDLE, MIDDLE_BLOBS)
    (tmp_path / "skip.cfg").write_text(POLICY + 'skip_layers: "c2"\n', encoding="utf-8")
    files: dict[str, Any] = {"data": tmp_path / "data.npz", "output": tmp_path / "out"}
    with amctc.register_host_op("Gain", gain, infer=same):
        amctc.compile(prototxt, weights, policy=tmp_path / "policy.cfg", **files)
        wanted = (tmp_path / "out_deploy_weights.caffemodel").read_bytes()
    with amctc.register_host_op("Gain", gain):
        result = amctc.compile(prototxt, weights, policy=tmp_path / "policy.cfg", **files)
        assert [node.name for node in result.graph if node.quant is not None] == ["c1", "c2"]
        assert (tmp_path / "out_deploy_weights.caffemodel").read_bytes() == wanted
        result = amctc.compile(prototxt, weights, policy=tmp_path / "skip.cfg", **files)
    assert [node.name for node in result.graph if node.quant is not None] == ["c1"]


# -- the commands -------------------------------------------------------------------------------------


def test_every_command_that_reads_a_model_takes_a_proto(tmp_path: Path) -> None:
    prototxt, weights = write(tmp_path, AT_THE_END, {"c1": convolution(4, 3)})
    proto = ("--custom-proto", tmp_path / "custom.proto")
    assert 'node "gain" caffe.Gain' in succeed("print", prototxt, *proto)
    assert "c1" in succeed("explain", prototxt, weights, "-p", tmp_path / "policy.cfg", *proto)
    succeed("config", prototxt, *proto, "-o", tmp_path / "config.json")
    assert "gain" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    run = ("run", prototxt, weights, "-d", tmp_path / "data.npz", *proto, "-o", tmp_path / "out.npz")
    succeed(*run, "--blobs", "c1")
    refused = command(*run)
    assert refused.status == 1
    assert "register_host_op" in refused.stderr
    succeed("uninplace", prototxt, *proto, "-o", tmp_path / "apart.prototxt")
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(4, np.int64))
    assert "AM436" in command("eval", prototxt, weights, "-d", tmp_path / "data.npz", "--labels", labels, *proto).stderr


def test_merge_proto_writes_a_file_that_can_be_given_again(tmp_path: Path) -> None:
    prototxt, _ = write(tmp_path, AT_THE_END)
    merged = tmp_path / "merged.proto"
    succeed("merge-proto", "--custom", tmp_path / "custom.proto", "--output", merged)
    assert "  optional GainParameter gain_param = 700;\n" in merged.read_text(encoding="utf-8")
    assert "gain_param" in succeed("print", prototxt, "--custom-proto", merged)


def test_merge_proto_takes_a_base_and_writes_nothing_after_a_clash(tmp_path: Path) -> None:
    base, merged = tmp_path / "base.proto", tmp_path / "merged.proto"
    base.write_text("package caffe;\nmessage LayerParameter {\n  optional string name = 1;\n}\n", encoding="utf-8")
    (tmp_path / "custom.proto").write_text(PROTO, encoding="utf-8")
    arguments = ("merge-proto", "--custom", tmp_path / "custom.proto", "--caffe-proto", base, "--output", merged)
    succeed(*arguments)
    before = merged.read_bytes()
    assert b"convolution_param" not in before
    base.write_text("message LayerParameter { optional string other = 700; }\n", encoding="utf-8")
    outcome = command(*arguments)
    assert (outcome.status, merged.read_bytes()) == (1, before)
    assert f"is that of `other` in `{base}`" in outcome.stderr
