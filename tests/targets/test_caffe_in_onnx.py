"""Caffe layers in ONNX files: what ONNX Runtime makes of them is what Caffe does, and the rest is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from amctc import register_host_op
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import Executor
from amctc.targets.onnx.model import float_model
from tests.nets import conv, data, layer, make_net
from tests.onnx_nets import load, run_model
from tests.quantized import outputs, random_feeds
from tests.runtime.caffe_cases import CaffeCase, forward_cases
from tests.runtime.caffe_passes import load_case
from tests.runtime.test_recurrent_layers import net, random_inputs, with_everything
from tests.shared_files import needs_golden

Arrays = Mapping[str, NDArray[np.float32]]

LOSSES = {
    "Accuracy",
    "ContrastiveLoss",
    "EuclideanLoss",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
}
"""Training's layers: only Python runs them, and no model that is deployed has them."""


def assert_same(graph: Graph, feeds: Arrays, tolerance: float = 1e-5) -> None:
    wanted = Executor(graph, finite=False).run(feeds)
    found = run_model(float_model(graph), feeds)
    for (name, array), value in zip(found.items(), graph.outputs, strict=True):
        assert array.shape == wanted[value].shape, name
        largest = float(np.abs(wanted[value][np.isfinite(wanted[value])]).max(initial=0))
        np.testing.assert_allclose(array, wanted[value], rtol=0, atol=tolerance * largest, err_msg=name)


def refusals(graph: Graph) -> list[str]:
    with pytest.raises(DiagnosticError) as caught:
        float_model(graph)
    assert {found.code for found in caught.value.diagnostics} == {"AM710"}
    return [found.message for found in caught.value.diagnostics]


def sizes(model: ModelProto) -> list[list[int | str]]:
    """The declared sizes of the inputs, then of the outputs."""
    return [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]


def _is_sayable(graph: Graph) -> bool:
    return bool(graph.outputs) and not LOSSES.intersection(node.type for node in graph.nodes)


@needs_golden
@pytest.mark.parametrize("part", range(8))
def test_every_recorded_layer_but_losses_is_the_same_in_onnx_runtime(part: int) -> None:
    cases = forward_cases()[part::8]
    compared = [case.name for case in cases if _compare(case)]
    assert len(compared) > len(cases) * 0.8


def _compare(case: CaffeCase) -> bool:
    graph = load_case(case)
    if not _is_sayable(graph):
        refusals(graph)
        return False
    recorded = case.recorded(0)
    inputs = {value.blob for node in graph.nodes if not node.inputs for value in node.outputs}
    assert_same(graph, {name: recorded[f"in/{name}"] for name in inputs if f"in/{name}" in recorded})
    return True


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
@pytest.mark.parametrize("everything", [False, True])
def test_a_recurrent_layer_starts_anew_wherever_cont_is_0(kind: str, everything: bool, tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything(kind) if everything else net(kind))
    feeds = random_inputs(graph)
    assert set(np.unique(feeds["cont"])) == {0.0, 1.0}
    assert_same(graph, feeds)


def test_a_recurrent_layer_is_read_back_and_runs(tmp_path: Path) -> None:
    graph = make_net(tmp_path, net("LSTM"))
    feeds = random_inputs(graph)
    again = load(float_model(graph), tmp_path)
    np.testing.assert_allclose(outputs(again, feeds)["out"], outputs(graph, feeds)["out"], rtol=0, atol=1e-6)


PRIORS = 12
DETECTION = data("{n} 48", "loc") + data("{n} 36", "conf") + data("1 2 48", "prior")
SETTINGS = "num_classes: 3 confidence_threshold: 0.1 nms_param { nms_threshold: 0.4 top_k: 8 } code_type: CENTER_SIZE"


def detector(folder: Path, settings: str = SETTINGS, images: int = 2) -> Graph:
    last = layer("det", "DetectionOutput", "loc conf prior", "det", f"detection_output_param {{ {settings} }}")
    return make_net(folder, DETECTION.replace("{n}", str(images)) + last)


def predictions(images: int, seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.7, (PRIORS, 2)), rng.uniform(0.1, 0.5, (PRIORS, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).reshape(-1)
    prior = np.stack([boxes, np.full(4 * PRIORS, 0.1)])[np.newaxis]
    found = {
        "loc": rng.normal(size=(images, 4 * PRIORS)),
        # Few different scores: many are equal.
        "conf": rng.integers(0, 6, (images, 3 * PRIORS)) / 5,
        "prior": prior,
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.mark.parametrize("more", ["", "keep_top_k: 5", "background_label_id: -1", "variance_encoded_in_target: true"])
@pytest.mark.parametrize("seed", range(4))
def test_detections_are_those_of_ssd_with_equal_scores_too(more: str, seed: int, tmp_path: Path) -> None:
    assert_same(detector(tmp_path, f"{SETTINGS} {more}"), predictions(2, seed))


def test_a_batch_without_any_box_has_a_row_for_each_image(tmp_path: Path) -> None:
    feeds = predictions(2, 0)
    feeds["conf"][:] = 0
    graph = detector(tmp_path)
    assert_same(graph, feeds)
    found = run_model(float_model(graph), feeds)["det"]
    np.testing.assert_array_equal(found[0, 0, :, :2], [[0, -1], [1, -1]])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SETTINGS.replace("top_k: 8", "top_k: 8 eta: 0.9"), "`eta`"),
        (SETTINGS.replace("CENTER_SIZE", "CORNER"), "`code_type`"),
    ],
)
def test_detections_that_nonmaxsuppression_cannot_say_are_refused(settings: str, words: str, tmp_path: Path) -> None:
    (message,) = refusals(detector(tmp_path, settings))
    assert "layer `det` (DetectionOutput)" in message
    assert words in message


def test_nothing_may_read_what_is_as_large_as_the_data_say(tmp_path: Path) -> None:
    last = layer("det", "DetectionOutput", "loc conf prior", "det", f"detection_output_param {{ {SETTINGS} }}")
    graph = make_net(tmp_path, DETECTION.replace("{n}", "1") + last + layer("abs", "AbsVal", "det", "abs"))
    assert refusals(graph) == ["layer `abs` (AbsVal): reads what `det` gives, which is as large as its data say"]


@pytest.mark.parametrize("pooling", ["kernel_size: 3 stride: 2", "kernel_size: 3 stride: 1 pad: 1"])
def test_the_mask_of_a_pooling_counts_in_one_image(pooling: str, tmp_path: Path) -> None:
    masked = layer("pool", "Pooling", "data", "pool", f'top: "mask" pooling_param {{ pool: MAX {pooling} }}')
    graph = make_net(tmp_path, data("2 3 7 8") + masked)
    assert_same(graph, random_feeds(graph, seed=3)[0])


def test_a_custom_layer_is_refused_by_name_although_a_host_op_runs_it(tmp_path: Path) -> None:
    def run(node: Any, inputs: Any, shapes: Any) -> Any:
        return inputs[0]

    with register_host_op("OnlyMine", run):
        graph = make_net(tmp_path, data() + layer("mine", "OnlyMine", "data", "mine"))
        assert refusals(graph) == ["layer `mine` (OnlyMine): has no form in ONNX: only Python runs it, its own host op"]


def test_losses_are_refused_by_name(tmp_path: Path) -> None:
    text = data("2 3", "a") + data("2 3", "b") + layer("loss", "EuclideanLoss", "a b", "loss")
    (tmp_path / "net.prototxt").write_text(text, encoding="utf-8")
    graph = load_model(tmp_path / "net.prototxt", keep_training=True)
    assert refusals(graph) == ["layer `loss` (EuclideanLoss): has no form in ONNX"]


# -- the batch -------------------------------------------------------------------------------------

FREE = (
    data("2 3 8 8")
    + conv("conv", "data", 4)
    + layer("flat", "Flatten", "conv", "flat")
    + layer("fc", "InnerProduct", "flat", "fc", "inner_product_param { num_output: 3 }")
    + layer("back", "Reshape", "fc", "back", "reshape_param { shape { dim: 0 dim: 3 dim: 1 } }")
)


def test_any_number_of_samples_fits_where_nothing_mixes_them(tmp_path: Path) -> None:
    graph = make_net(tmp_path, FREE)
    model = float_model(graph)
    assert sizes(model) == [["batch", 3, 8, 8], ["batch", 3, 1]]
    (feeds,) = random_feeds(graph, seed=1)
    whole = run_model(model, feeds)["back"]
    for count in (1, 2):
        found = run_model(model, {"data": feeds["data"][:count]})["back"]
        np.testing.assert_allclose(found, whole[:count], rtol=0, atol=1e-6)
    np.testing.assert_allclose(whole, outputs(graph, feeds)["back"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "mixing",
    [
        layer("mix", "Softmax", "data", "mix", "softmax_param { axis: 0 }"),
        layer("mix", "Permute", "data", "mix", "permute_param { order: 1 order: 0 order: 2 order: 3 }"),
        layer("mix", "Reshape", "data", "mix", "reshape_param { shape { dim: 2 dim: -1 } }"),
        layer("mix", "BatchNorm", "data", "mix", "batch_norm_param { use_global_stats: false }"),
        layer("mix", "Scale", "data", "mix", "scale_param { axis: 0 num_axes: 1 }"),
    ],
    ids=["softmax", "permute", "reshape", "batch-norm", "scale"],
)
def test_a_batch_stays_as_it_is_where_a_layer_mixes_or_counts_samples(mixing: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 3 8 8") + mixing)
    assert sizes(float_model(graph))[0] == [2, 3, 8, 8]
    assert_same(graph, random_feeds(graph, seed=1)[0])


def test_an_axis_of_several_samples_elements_is_not_called_the_batch(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 3") + layer("flat", "Flatten", "data", "flat", "flatten_param { axis: 0 }"))
    assert sizes(float_model(graph)) == [["batch", 3], [0]]


def test_an_input_keeps_its_name_where_a_layer_works_in_place_on_it(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 3") + layer("relu", "ReLU", "data", "data"))
    model = float_model(graph)
    assert [value.name for value in model.graph.input] == ["data"]
    assert_same(graph, random_feeds(graph, seed=1)[0])
