"""Nets as they are trained: layers that read data bases, labels, losses, stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc
from amctc import driver
from amctc.diagnostics import Collector, Level
from amctc.driver.transformations import untransformed
from amctc.frontends import load_model
from tests.e2e.command import CALIBRATION, DIGITS
from tests.e2e.command import amctc as command
from tests.nets import conv, data, layer, write_net

TRAIN_VAL = (
    layer("data", "Data", "", "data", 'top: "label" include { phase: TRAIN } transform_param { mirror: true }')
    + layer("data", "Data", "", "data", 'top: "label" include { phase: TEST } data_param { batch_size: 8 }')
    + conv("conv", "data", 4, more='weight_filler { type: "xavier" }')
    + layer("relu", "ReLU", "conv", "conv")
    + layer("fc", "InnerProduct", "conv", "fc", "inner_product_param { num_output: 5 }")
    + layer("accuracy", "Accuracy", "fc label", "accuracy", "include { phase: TEST }")
    + layer("loss", "SoftmaxWithLoss", "fc label", "loss")
)
STAGES = (
    layer("data", "Data", "", "data", 'data_param { source: "db" batch_size: 8 } exclude { stage: "deploy" }')
    + layer("deploy", "Input", "", "data", 'include { stage: "deploy" } input_param { shape { dim: 1 dim: 3 } }')
    + layer("relu", "ReLU", "data", "relu")
)


def net(folder: Path) -> tuple[Path, Path]:
    """The training net, with weights for images of 3x12x12."""
    small = data("8 3 12 12") + "".join(line for line in TRAIN_VAL.splitlines(keepends=True) if "label" not in line)
    _, weights = write_net(folder, small)
    prototxt = folder / "train_val.prototxt"
    prototxt.write_text(TRAIN_VAL, encoding="utf-8")
    return prototxt, weights


def samples(count: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {"data": np.random.default_rng(0).normal(size=(count, 3, 12, 12)).astype(np.float32)}


def test_a_training_net_runs_without_its_labels(tmp_path: Path) -> None:
    collector = Collector()
    graph = load_model(*net(tmp_path), collector)
    assert [node.name for node in graph] == ["data", "conv", "relu", "fc"]
    assert [warning.code for warning in collector.warnings] == ["AM306", "AM306"]
    assert [value.blob for value in graph.outputs] == ["fc"]
    found = driver.run_blobs(graph, driver.open_dataset(graph, samples(6)), ["all"], batch_size=4)
    assert {name: array.shape for name, array in found.items()} == {
        "data": (6, 3, 12, 12),
        "conv": (6, 4, 10, 10),
        "fc": (6, 5),
    }


def test_a_training_net_compiles_in_the_shape_of_its_data(tmp_path: Path) -> None:
    prototxt, weights = net(tmp_path)
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 1", encoding="utf-8")
    result = amctc.compile(prototxt, weights, policy=policy, data=samples(4), output=tmp_path / "q", batch_size=4)
    assert [node.name for node in result.graph if node.quant is not None] == ["conv", "fc"]
    fake, deploy = (
        load_model(tmp_path / f"q_{kind}_model.prototxt", tmp_path / f"q_{kind}_weights.caffemodel")
        for kind in ("fake_quant", "deploy")
    )
    first, second = (amctc.run(graph, samples(2))["fc"] for graph in (fake, deploy))
    np.testing.assert_array_equal(first, second)


def test_a_training_net_without_weights_does_not_compile(tmp_path: Path) -> None:
    prototxt, _ = net(tmp_path)
    outcome = command("compile", prototxt, "-p", DIGITS / "policy.cfg", "-d", CALIBRATION, "-o", tmp_path / "q")
    assert outcome.status == 1
    assert "AM420" in outcome.stderr
    assert "layer `conv` (Convolution): has no weights" in outcome.stderr


def test_losses_can_be_kept_and_run(tmp_path: Path) -> None:
    graph = load_model(*net(tmp_path), keep_training=True)
    found = amctc.run(graph, {**samples(4), "label": np.array([0, 1, 2, 3], np.float32)})
    assert found["loss"].shape == ()
    assert 0 <= found["accuracy"] <= 1


def test_the_command_line_chooses_stages_and_levels(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(STAGES, encoding="utf-8")
    assert "caffe.Input" in command("print", path, "--stage", "deploy").stdout
    shown = command("print", path).stdout
    assert "caffe.Data" in shown
    assert "caffe.Input" not in shown


def test_every_command_tells_what_the_model_was_warned_of(tmp_path: Path) -> None:
    prototxt, weights = net(tmp_path)
    policy, arrays = tmp_path / "policy.cfg", tmp_path / "data.npz"
    policy.write_text("batch_num: 1", encoding="utf-8")
    np.savez(arrays, data=samples(4)["data"])
    for words in (
        ("print", prototxt),
        ("explain", prototxt, "--policy", policy),
        ("config", prototxt, "--output", tmp_path / "config.json"),
        ("run", prototxt, weights, "--data", arrays, "--output", tmp_path / "out.npz"),
    ):
        done = command(*words)
        assert done.status == 0, done.stderr
        assert "AM306" in done.stderr, words[0]


@pytest.mark.parametrize(
    ("transform", "arrays", "images"),
    [
        ("scale: 0.00390625", "scale=0.00390625", "bgr,scale=0.00390625"),
        (
            "crop_size: 8 mean_value: 104 mean_value: 117 mean_value: 123",
            "mean=104:117:123",
            "center-crop=8,bgr,mean=104:117:123",
        ),
        ('mean_file: "m.binaryproto" force_gray: true', "mean=m.binaryproto", "gray,mean=m.binaryproto"),
        ("crop_size: 8", None, "center-crop=8,bgr"),
        ("mirror: true", None, None),
    ],
)
def test_a_transformation_that_nobody_applies_is_warned_of(
    transform: str, arrays: str | None, images: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    text = layer("data", "Data", "", "data", f'top: "label" transform_param {{ {transform} }}')
    path.write_text(text + layer("abs", "AbsVal", "data", "y"), encoding="utf-8")
    graph = load_model(path)
    for steps, is_image in ((arrays, False), (images, True)):
        told = list(untransformed(graph, is_image))
        wanted = [] if steps is None else [f"if the data are not, say `--preprocess {steps}`"]
        assert [warning.help for warning in told] == wanted
        assert all((warning.code, warning.level) == ("AM449", Level.WARNING) for warning in told)


def test_a_command_with_preprocessing_does_not_warn_of_transformations(tmp_path: Path) -> None:
    path, arrays = tmp_path / "net.prototxt", tmp_path / "data.npz"
    text = layer("data", "Data", "", "data", "transform_param { scale: 0.5 }") + layer("abs", "AbsVal", "data", "y")
    path.write_text(text, encoding="utf-8")
    np.savez(arrays, data=np.ones((2, 3, 4, 4), np.float32))
    assert "AM449" in command("run", path, "-d", arrays, "-o", tmp_path / "o.npz").stderr
    steps = ("--preprocess", "scale=0.5")
    assert "AM449" not in command("run", path, "-d", arrays, "-o", tmp_path / "o.npz", *steps).stderr


def test_scores_that_are_not_one_row_a_sample_are_refused(tmp_path: Path) -> None:
    path, arrays = tmp_path / "net.prototxt", tmp_path / "data.npz"
    shape = "reshape_param { shape { dim: -1 dim: 6 } }"
    path.write_text(data("2 6 2 2") + layer("r", "Reshape", "data", "scores", shape), encoding="utf-8")
    np.savez(arrays, data=np.ones((4, 6, 2, 2), np.float32), label=np.arange(4))
    outcome = command("eval", path, "-d", arrays, "--labels", "label")
    assert outcome.status == 1
    assert "error[AM466]: the first output `scores` has the shape (8, 6) for 2 samples" in outcome.stderr
