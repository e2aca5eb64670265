"""`amctc export`: float models written for another framework, and what is told where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc as package
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from tests.e2e.command import MODEL, WEIGHTS, amctc, compile_digits, succeed
from tests.nets import data, layer
from tests.onnx_nets import make_model, normal, run_model
from tests.quantized import outputs, random_feeds


def onnx_file(folder: Path, body: str = "y = Relu (x)", signature: str = "(float[N, 3] x) => (float[N, 3] y)") -> Path:
    path = folder / "net.onnx"
    path.write_bytes(make_model(signature, body).SerializeToString())
    return path


def test_a_caffe_net_becomes_one_onnx_file_that_computes_the_same(tmp_path: Path) -> None:
    told = succeed("export", MODEL, WEIGHTS, "--target", "onnx", "--output", tmp_path / "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["digits_model.onnx"]
    assert "wrote the float model" in told
    graph = load_model(MODEL, WEIGHTS)
    (feeds,) = random_feeds(graph, seed=1)
    found = run_model(tmp_path / "digits_model.onnx", feeds)
    for name, array in outputs(graph, feeds).items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * float(np.abs(array).max()))


def test_there_and_back_is_the_same_net_in_numbers(tmp_path: Path) -> None:
    succeed("export", MODEL, WEIGHTS, "-t", "onnx", "-o", tmp_path / "there")
    succeed("export", tmp_path / "there_model.onnx", "-t", "caffe", "-o", tmp_path / "back")
    back = load_model(tmp_path / "back_model.prototxt", tmp_path / "back_model.caffemodel")
    graph = load_model(MODEL, WEIGHTS)
    (feeds,) = random_feeds(back, seed=1)
    for name, array in outputs(graph, feeds).items():
        np.testing.assert_allclose(outputs(back, feeds)[name], array, rtol=0, atol=1e-5 * float(np.abs(array).max()))


def test_no_pass_runs_unless_it_is_asked_for(tmp_path: Path) -> None:
    text = data("2 3 6 6") + layer("drop", "Dropout", "data", "drop") + layer("relu", "ReLU", "drop", "relu")
    (tmp_path / "net.prototxt").write_text(text, encoding="utf-8")
    succeed("export", tmp_path / "net.prototxt", "-t", "caffe", "-o", tmp_path / "as_it_is")
    succeed("export", tmp_path / "net.prototxt", "-t", "caffe", "-o", tmp_path / "clean", "--pipeline", "float")
    assert "Dropout" in (tmp_path / "as_it_is_model.prototxt").read_text(encoding="utf-8")
    assert "Dropout" not in (tmp_path / "clean_model.prototxt").read_text(encoding="utf-8")


def test_the_function_gives_the_files_and_the_graph(tmp_path: Path) -> None:
    result = package.export(MODEL, WEIGHTS, target=["caffe", "onnx"], output=tmp_path / "net", pipeline="float")
    names = ["net_model.caffemodel", "net_model.onnx", "net_model.prototxt"]
    assert sorted(path.name for path in result.files) == names
    assert result.pipeline is not None
    assert len(result.runs) > 1
    assert all(node.quant is None for node in result.graph.nodes)


def test_sizes_that_a_model_leaves_open_can_be_given(tmp_path: Path) -> None:
    signature = "(float[N, 3, H, W] x) => (float[N, 3, H, W] y)"
    path = onnx_file(tmp_path, "y = GlobalAveragePool (x)", signature)
    refused = amctc("export", path, "-t", "caffe", "-o", tmp_path / "net")
    assert (refused.status, "AM713" in refused.stderr) == (1, True)
    succeed("export", path, "-t", "caffe", "-o", tmp_path / "net", "--shape", "x=1x3x8x6")
    again = load_model(tmp_path / "net_model.prototxt", tmp_path / "net_model.caffemodel")
    feeds = {"x": normal((1, 3, 8, 6))}
    np.testing.assert_allclose(outputs(again, feeds)["y"], feeds["x"].mean(axis=(2, 3), keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "status", "words"),
    [
        ("z=1x3", 1, "the model has no input `z`"),
        ("x=1xx3", 2, "INPUT=SIZES"),
        ("x=0x3", 2, "INPUT=SIZES"),
        ("1x3", 2, "INPUT=SIZES"),
    ],
)
def test_a_wrong_shape_is_told(shape: str, status: int, words: str, tmp_path: Path) -> None:
    outcome = amctc("export", onnx_file(tmp_path), "-t", "caffe", "-o", tmp_path / "net", "--shape", shape)
    assert outcome.status == status
    assert words in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_what_cannot_be_said_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = onnx_file(tmp_path, "a = Acos (x) y = Asin (a)")
    outcome = amctc("export", path, "-t", "caffe,onnx", "-o", tmp_path / "out" / "net")
    assert outcome.status == 1
    assert outcome.stderr.count("AM713") == 2
    assert "(Acos): has no form in Caffe" in outcome.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("-t", "caffee"), "AM701"),
        (("-t", "onnx", "--pipeline", "ptq"), "AM509"),
        (("-t", "onnx", "--pipeline", "depthwise-affine"), "AM509"),
        (("-t", "onnx", "--pipeline", "nothing"), "AM501"),
    ],
)
def test_mistakes_in_the_options_are_told(more: tuple[str, ...], code: str, tmp_path: Path) -> None:
    outcome = amctc("export", MODEL, WEIGHTS, *more, "-o", tmp_path / "net")
    assert outcome.status == 1
    assert f"error[{code}]" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_model_is_not_exported(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    deploy = tmp_path / "net_deploy_model.prototxt", tmp_path / "net_deploy_weights.caffemodel"
    with pytest.raises(DiagnosticError) as caught:
        package.export(*deploy, target="onnx", output=tmp_path / "again")
    assert caught.value.diagnostics[0].code == "AM332"
    assert not list(tmp_path.glob("again*"))


def test_a_net_without_its_weights_is_not_exported(tmp_path: Path) -> None:
    outcome = amctc("export", MODEL, "-t", "onnx", "-o", tmp_path / "net")
    assert (outcome.status, "AM420" in outcome.stderr) == (1, True)
