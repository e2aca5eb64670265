"""Nets as they are trained: layers that read data bases, labels, losses, stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import amctc
from amctc import driver
from amctc.diagnostics import Collector
from amctc.frontends import load_model
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
