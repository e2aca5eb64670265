"""ONNX graphs in GE's words: the node tests of the `onnx` package, whole networks, and what is refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

import amctc
from amctc.air.files import read_air
from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends import load_model
from amctc.ir import Graph, Value
from amctc.policy import Policy
from amctc.runtime.executor import Executor, read_inputs
from amctc.source import SourceFile
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.from_onnx import ONNX_RULES
from amctc.targets.ge.target import GeTarget
from tests.frontends.onnx.models import loaded, model_of
from tests.frontends.onnx.node_cases import NodeCase, agree, expected_outcomes, graph_of, node_cases
from tests.shared_files import ASSETS, needs_assets

Feeds = Mapping[str, NDArray[np.float32]]

CROSSING = 534
"""How many of the node tests become GE graphs; it may only grow."""
OPEN_SIZES: Mapping[str, tuple[int, ...]] = {"ch_ppocr_mobile_v2.0_cls_infer": (1, 3, 48, 192)}
MODELS = ("ch_ppocr_mobile_v2.0_cls_infer", "efficientnet_lite0", "lprnet", "ultraface_slim_320_bn")


# -- the node tests of the onnx package ----------------------------------------------------------------------------


def written(graph: Graph, folder: Path) -> tuple[Graph, bytes]:
    """The graph of the `.air` file of a float graph, and the file."""
    (content,) = GeTarget().emit(graph).values()
    path = folder / "model.air"
    path.write_bytes(content)
    return load_model(path), content


def frozen(case: NodeCase) -> NodeCase | None:
    """A node test whose inputs behind the first are constants of the model; None where they cannot be."""
    (given, wanted), *others = case.batches
    names = [value.name for value in case.model.graph.input]
    arrays = given[1:]
    if others or len(names) < 2 or not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" for a in arrays):
        return None
    model = ModelProto()
    model.CopyFrom(case.model)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(a), n) for n, a in zip(names[1:], arrays, strict=False)
    )
    del model.graph.input[1:]
    return dataclasses.replace(case, name=f"{case.name}_frozen", model=model, batches=((given[:1], wanted),))


def is_said(case: NodeCase) -> bool:
    """Whether every op of a model has a rule."""
    return all(f"onnx.{node.op_type}" in ONNX_RULES for node in case.model.graph.node)


def crosses(case: NodeCase, folder: Path) -> str:
    """`` where the GE graph, written and read again, gives what the model is to give; else the op that is refused."""
    try:
        graph = graph_of(case, folder)
    except DiagnosticError:
        return "reading"
    try:
        again, content = written(graph, folder)
    except DiagnosticError as refused:
        assert {found.code for found in refused.diagnostics} == {"AM715"}
        return refused.diagnostics[0].message.split("(")[1].split(")")[0]
    assert list(GeTarget().emit(again).values()) == [content], case.name
    names = [value.name for value in case.model.graph.input]
    for given, wanted in case.batches:
        feeds: dict[str, Any] = {n: a for n, a in zip(names, given, strict=False) if n in read_inputs(again)}
        run = Executor(again, threads=1, finite=False).run(feeds)
        found = [run[value] for value in again.outputs]
        assert agree(found, wanted, max(case.rtol, 1e-4), max(case.atol, 1e-5)), case.name
    return ""


def test_node_models_give_their_outputs_as_ge_graphs_or_are_refused_by_op(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As they are and, if that is refused, with constants for their inputs.
    found: dict[str, str] = {}
    for case in node_cases():
        if case.name in expected_outcomes() or not is_said(case):
            continue
        found[case.name] = crosses(case, tmp_path)
        constant = frozen(case) if found[case.name] else None
        if constant is not None:
            found[case.name] = crosses(constant, tmp_path)
    outcomes = Counter(found.values())
    unsaid = Counter(
        node.op_type
        for case in node_cases()
        for node in case.model.graph.node
        if f"onnx.{node.op_type}" not in ONNX_RULES
    )
    with capsys.disabled():
        print(f"\n{outcomes['']} node models are GE graphs; refused in part: {dict(outcomes.most_common())}")
        print(f"without a form in GE: {dict(unsaid.most_common(20))} and {max(len(unsaid) - 20, 0)} more ops")
    assert outcomes[""] > len(found) / 2
    assert outcomes[""] >= CROSSING


# -- single ops ----------------------------------------------------------------------------------------------------


def crossed(graph: str, folder: Path, **weights: Any) -> Graph:
    """The GE graph of an ONNX one in ONNX's text form."""
    return in_ge(loaded(model_of(graph, weights=weights), folder))


def types(graph: Graph) -> list[str]:
    return [node.type for node in graph.nodes if node.type != "Data"]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


IMAGE = "g (float[1, 4, 8, 8] x) => (float[N, C, H, W] y) "


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{ y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }", ["Conv2D"]),
        ("{ y = Conv <group = 4> (x, by_channel, b) }", ["Conv2D"]),
        ("{ y = ConvTranspose <strides = [2, 2]> (x, w, b) }", ["Conv2DTranspose"]),
        ("{ y = MaxPool <kernel_shape = [2, 2]> (x) }", ["MaxPoolV3"]),
        ("{ y = AveragePool <kernel_shape = [2, 2]> (x) }", ["AvgPoolV2"]),
        ("{ y = GlobalAveragePool (x) }", ["GlobalAveragePool"]),
        ("{ y = BatchNormalization (x, b, b, b, v) }", ["BNInfer"]),
        ("{ y = Clip (x, zero, six) }", ["ClipByValue"]),
        ("{ y = Add (x, b4) }", ["Add"]),
        ("{ y = Div (x, b4) }", ["RealDiv"]),
        ("{ y = Relu (x) }", ["Relu"]),
        ("{ y = Softmax <axis = 1> (x) }", ["SoftmaxV2"]),
        ("{ y = Transpose <perm = [0, 2, 3, 1]> (x) }", ["TransposeD"]),
        ("{ y = Concat <axis = 1> (x, x) }", ["ConcatD"]),
        ("{ y = Pad (x, pads) }", ["PadV3"]),
        ("{ y = Slice (x, one, two, two) }", ["StridedSliceV2"]),
        ("{ y = Gather <axis = 1> (x, one) }", ["GatherV2"]),
        ('{ y = Resize <mode = "linear"> (x, , scales) }', ["ResizeBilinearV2"]),
        ('{ y = Resize <mode = "nearest"> (x, , scales) }', ["ResizeNearestNeighborV2"]),
        ('{ y = Resize <mode = "cubic"> (x, , scales) }', ["Resize"]),
        ("{ y = ReduceMean <axes = [2, 3]> (x) }", ["ReduceMean"]),
        ("{ t = Dropout (x) y = Relu (t) }", ["Relu"]),
        ("{ s = Shape (x) t = Reshape (x, s) y = Relu (t) }", ["Reshape", "Relu"]),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_op_is_the_one_of_the_public_parser(body: str, expected: list[str], tmp_path: Path) -> None:
    weights: dict[str, Any] = {
        "w": normal(4, 4, 3, 3),
        "by_channel": normal(4, 1, 3, 3),
        "b": normal(4),
        "v": np.abs(normal(4)) + np.float32(0.5),
        "b4": np.abs(normal(1, 4, 1, 1)) + np.float32(0.5),
        "zero": np.float32(0),
        "six": np.float32(6),
        "pads": np.array([0, 0, 1, 2, 0, 0, 2, 1], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    used = {name: array for name, array in weights.items() if f" {name}" in body}
    graph = loaded(model_of(IMAGE + body, weights=used), tmp_path)
    again, _ = written(graph, tmp_path)
    assert types(again) == expected
    feeds = {"x": normal(1, 4, 8, 8)}
    compare(again, feeds, graph, feeds)


def test_paddings_of_same_are_numbers_and_average_pools_say_what_they_count(tmp_path: Path) -> None:
    attributes = 'kernel_shape = [3, 2], auto_pad = "SAME_UPPER", count_include_pad = 1'
    graph = crossed(f"{IMAGE} {{ y = AveragePool <{attributes}> (x) }}", tmp_path)
    node = graph.node(next(node.name for node in graph.nodes if node.type == "AvgPoolV2"))
    assert {name: node.attrs[name] for name in ("ksize", "pads", "padding_mode", "exclusive", "ceil_mode")} == {
        "ksize": (1, 1, 3, 2),
        "pads": (1, 1, 0, 1),
        "padding_mode": "CALCULATED",
        "exclusive": False,
        "ceil_mode": False,
    }


def test_a_convolution_over_one_axis_runs_on_an_image_of_one_column(tmp_path: Path) -> None:
    model = model_of(
        "g (float[2, 3, 9] x) => (float[2, 4, 5] y) { y = Conv <strides = [2], pads = [1, 1]> (x, w) }",
        weights={"w": normal(4, 3, 3)},
    )
    graph = loaded(model, tmp_path)
    again, _ = written(graph, tmp_path)
    assert types(again) == ["Unsqueeze", "Conv2D", "Squeeze"]
    feeds = {"x": normal(2, 3, 9)}
    compare(again, feeds, graph, feeds)


def test_an_open_batch_stays_open(tmp_path: Path) -> None:
    model = model_of("g (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) { y = Relu (x) }")
    again, _ = written(loaded(model, tmp_path), tmp_path)
    assert again.node("x").attrs["air"]["shape"] == (-1, 3, 4, 4)  # type: ignore[index, call-overload]
    (found,) = Executor(again).run({"x": normal(5, 3, 4, 4)}).values()
    assert found.shape == (5, 3, 4, 4)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{ y = Acos (x) }", "(Acos): has no form in GE"),
        ("{ y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) }", "windows with gaps"),
        (
            "{ y, i = MaxPool <kernel_shape = [2, 2]> (x) z = Cast <to = 1> (i) w = Add (y, z) }",
            "indices of its maxima",
        ),
        ("{ y = Conv (x, x) }", "weights that are not constant"),
        ("{ y = PRelu (x, wide) }", "slopes of [4, 8, 8]"),
        ("{ y = LRN <size = 2> (x) }", "an even number of channels"),
        ("{ y = MatMul (x, line) }", "multiplies with a vector"),
        ("{ t = Cast <to = 16> (x) y = Cast <to = 1> (t) }", "gives bfloat16"),
    ],
)
def test_what_ge_cannot_say_is_refused_by_name(body: str, words: str, tmp_path: Path) -> None:
    weights = {"wide": normal(4, 8, 8), "line": normal(8)}
    output = "w" if "w = " in body else "y"
    used = {name: array for name, array in weights.items() if name in body}
    text = (IMAGE + body).replace("W] y", f"W] {output}")
    with pytest.raises(DiagnosticError) as caught:
        crossed(text, tmp_path, **used)
    (found,) = caught.value.diagnostics
    assert (found.code, words in found.message) == ("AM715", True), found.message


# -- whole networks ------------------------------------------------------------------------------------------------


def compare(
    a: Graph, feeds_a: Mapping[str, Any], b: Graph, feeds_b: Mapping[str, Any], tolerance: float = 1e-5
) -> None:
    """Two graphs give the same outputs."""
    found, wanted = Executor(a).run(feeds_a), Executor(b).run(feeds_b)
    for one, other in zip(a.outputs, b.outputs, strict=True):
        assert found[one].shape == wanted[other].shape
        largest = float(np.abs(wanted[other]).max())
        np.testing.assert_allclose(found[one], wanted[other], rtol=0, atol=1e-5 * largest)


def of_inputs(graph: Graph, arrays: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return dict(zip(read_inputs(graph), arrays, strict=True))


def random_inputs(graph: Graph) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, value.shape or ()).astype(np.float32) for value in read_inputs(graph).values()]


def network(name: str) -> tuple[Path, Graph, dict[str, tuple[int, ...]]]:
    """The file, the graph, and the shapes of its inputs where the model leaves them open."""
    path = ASSETS / f"onnx/{name}.onnx"
    graph = load_model(path)
    shapes = dict.fromkeys(read_inputs(graph), OPEN_SIZES[name]) if name in OPEN_SIZES else {}
    annotate_shapes(graph, shapes)
    return path, graph, shapes


@needs_assets
@pytest.mark.parametrize("name", MODELS)
def test_a_network_computes_the_same_in_its_air_file(name: str, tmp_path: Path) -> None:
    path, graph, shapes = network(name)
    amctc.export(path, target="ge", output=tmp_path / "net", shapes=shapes)
    file = tmp_path / "net_model.air"
    again = load_model(file)
    assert list(GeTarget().emit(again).values()) == [file.read_bytes()]
    arrays = random_inputs(graph)
    compare(again, of_inputs(again, arrays), graph, of_inputs(graph, arrays))


ADDS = 'override_layer_types { layer_type: "Add" calibration_config { ifmr_quantize { } } }'


@needs_assets
@pytest.mark.parametrize(("name", "policy"), [(name, ADDS if name == "efficientnet_lite0" else "") for name in MODELS])
def test_a_quantized_network_has_the_integers_of_the_onnx_deploy_model(name: str, policy: str, tmp_path: Path) -> None:
    path, graph, _ = network(name)
    arrays = random_inputs(graph)
    rules = Policy.from_text(SourceFile("policy.cfg", f"batch_num: 1 {policy}"))
    amctc.compile(path, policy=rules, data=of_inputs(graph, arrays), target="ge,onnx", output=tmp_path / "net")
    file = tmp_path / "net_deploy_model.air"
    air, deploy = load_model(file), load_model(tmp_path / "net_deploy_model.onnx")
    assert GeTarget().emit(air)["deploy_model.air"] == file.read_bytes()
    assert rooted_ops(file) == take_roots(deploy)
    found, wanted = integers(air, of_inputs(air, arrays)), integers(deploy, of_inputs(deploy, arrays))
    assert found.keys() == wanted.keys()
    assert len(found) > 30
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)
    compare(air, of_inputs(air, arrays), deploy, of_inputs(deploy, arrays))


@needs_assets
@pytest.mark.parametrize("name", ["lprnet", "ultraface_slim_320_bn"])
def test_a_float_air_file_is_quantized_as_its_onnx_model_is(name: str, tmp_path: Path) -> None:
    path, graph, _ = network(name)
    amctc.export(path, target="ge", output=tmp_path / "net")
    float_air = tmp_path / "net_model.air"
    arrays = random_inputs(graph)
    for source, prefix in ((path, "onnx"), (float_air, "ge")):
        feeds = of_inputs(load_model(source), arrays)
        policy = Policy.from_text(SourceFile("policy.cfg", "batch_num: 1"))
        amctc.compile(source, policy=policy, data=feeds, target="ge", output=tmp_path / prefix)
    for ending in ("scale_offset_record.txt", "deploy_model.air"):
        assert (tmp_path / f"ge_{ending}").read_bytes() == (tmp_path / f"onnx_{ending}").read_bytes()


def rooted_ops(file: Path) -> list[str]:
    """The names of the AscendDequant ops whose scales are roots, in order."""
    ops: Any = read_air(file).graph[0].op
    return [str(op.name) for op in ops if op.type == "AscendDequant" and op.attr["sqrt_mode"].b]


def take_roots(graph: Graph) -> list[str]:
    """Scales beyond float16 are written as their roots, whose squares a float32 does not always hold: take these.

    The names of the nodes, in order.
    """
    names: list[str] = []
    for node in graph.nodes:
        if node.op == "quant.Dequantize":
            scales = node.weights["deq_scale"].astype(np.float32)
            if bool(((scales < 2**-24) | (scales > 65504)).any()):
                names.append(node.name)
                node.weights["deq_scale"] = np.sqrt(scales) ** 2
    return names


def integers(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What every Quantize gives and every Dequantize reads, by the node's name."""
    values: dict[str, Value] = {node.name: node.output for node in graph.nodes if node.op == "quant.Quantize"}
    values |= {node.name: node.inputs[0] for node in graph.nodes if node.op == "quant.Dequantize"}
    found = Executor(graph, fetch=[*values.values()]).run(feeds)
    return {name: found[value] for name, value in values.items()}
