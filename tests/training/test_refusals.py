"""What training refuses, and what it runs without a gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc import torch_missing
from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import builtin_ops
from amctc.training.layers.rules import NO_GRADIENT, RULES
from amctc.training.network import Network
from tests.nets import data, layer
from tests.training.nets import has_gradient, read_net

X = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0], np.float32)
INPUTS = data("4 3", "x") + data("4", "label")
FC = layer("fc", "InnerProduct", "x", "fc", "inner_product_param { num_output: 2 }")


def refusal(text: str, folder: Path) -> tuple[str, str]:
    with pytest.raises(DiagnosticError) as caught:
        Network(read_net(folder, text), phase="TRAIN")
    (found,) = caught.value.diagnostics
    return found.code, found.message


def test_a_layer_without_a_gradient_between_what_learns_and_a_loss_is_refused(tmp_path: Path) -> None:
    step = layer("step", "Threshold", "fc", "step") + layer("l", "SoftmaxWithLoss", "step label", "l")
    code, message = refusal(INPUTS + FC + step, tmp_path)
    assert code == "AM902"
    assert message == "layer `step` (Threshold): has no gradient, and lies between layers that learn and a loss"


@pytest.mark.parametrize(
    "text",
    [
        FC + layer("step", "Threshold", "fc", "step", "propagate_down: false"),
        FC.replace("inner_product_param", "param { lr_mult: 0 } param { lr_mult: 0 } inner_product_param")
        + layer("step", "Threshold", "fc", "step"),
        layer("step", "Threshold", "x", "step"),
    ],
    ids=["propagate_down", "lr_mult", "nothing before it"],
)
def test_it_may_lie_where_no_gradient_has_to_go_through(text: str, tmp_path: Path) -> None:
    behind = layer("own", "InnerProduct", "step", "own", "inner_product_param { num_output: 2 }")
    network = Network(
        read_net(tmp_path, INPUTS + text + behind + layer("l", "SoftmaxWithLoss", "own label", "l")), phase="TRAIN"
    )
    network.forward({"x": X, "label": LABELS})
    network.backward()
    assert has_gradient(network, "own", "weight")
    assert "fc" not in network.table.weights or not has_gradient(network, "fc", "weight")


def test_beside_the_way_to_the_loss_it_may_lie_anywhere(tmp_path: Path) -> None:
    beside = layer("best", "ArgMax", "fc", "best") + layer("hit", "Accuracy", "fc label", "hit")
    network = Network(
        read_net(tmp_path, INPUTS + FC + beside + layer("l", "SoftmaxWithLoss", "fc label", "l")), phase="TRAIN"
    )
    result = network.forward({"x": X, "label": LABELS}, blobs=["fc"])
    network.backward()
    scores = result.blobs["fc"].detach().numpy()
    np.testing.assert_array_equal(result.outputs["best"].reshape(-1), scores.argmax(1))
    assert result.outputs["hit"].item() == pytest.approx((scores.argmax(1) == LABELS).mean())
    assert has_gradient(network, "fc", "weight")


def test_a_layer_without_a_rule_is_run_as_the_runtime_runs_it(tmp_path: Path) -> None:
    text = INPUTS + layer("up", "Ceil", "x", "up") + FC.replace('bottom: "x"', 'bottom: "up"')
    network = Network(read_net(tmp_path, text + layer("l", "SoftmaxWithLoss", "fc label", "l")), phase="TRAIN")
    found = network.forward({"x": X, "label": LABELS}, blobs=["up"]).blobs["up"]
    np.testing.assert_array_equal(found, np.ceil(X))
    network.backward()
    assert has_gradient(network, "fc", "weight")


def test_a_layer_with_weights_and_without_a_rule_is_refused(tmp_path: Path) -> None:
    graph = read_net(tmp_path, INPUTS + FC)
    graph.insert_after(graph.node("fc").output, "own", "caffe.Own", weights={"blob0": np.ones(1, np.float32)})
    with pytest.raises(DiagnosticError, match="training knows no layer of this type") as caught:
        Network(graph, phase="TRAIN")
    assert [found.code for found in caught.value.diagnostics] == ["AM901"]


def test_layers_that_share_a_parameter_may_not_differ_in_its_rate(tmp_path: Path) -> None:
    fast, slow = (f'param {{ name: "w" lr_mult: {rate} }}' for rate in (2, 1))
    parameter = "inner_product_param { num_output: 2 }"
    text = INPUTS + layer("a", "InnerProduct", "x", "a", fast + parameter)
    code, message = refusal(text + layer("b", "InnerProduct", "x", "b", slow + parameter), tmp_path)
    assert code == "AM903"
    assert "an `lr_mult` of 1, and layer `a`, which shares it, one of 2" in message


def test_propagate_down_must_be_said_for_each_input(tmp_path: Path) -> None:
    text = INPUTS + FC + layer("l", "SoftmaxWithLoss", "fc label", "l", "propagate_down: true")
    assert refusal(text, tmp_path)[0] == "AM905"


def test_a_test_network_must_fit_its_train_network(tmp_path: Path) -> None:
    train = Network(read_net(tmp_path, INPUTS + FC), phase="TRAIN")
    bare = FC.replace("num_output: 2", "num_output: 2 bias_term: false")
    with pytest.raises(DiagnosticError) as caught:
        Network(read_net(tmp_path, data("4 5", "x") + bare, "TEST"), phase="TEST", shared=train)
    assert [(found.code, found.message) for found in caught.value.diagnostics] == [
        (
            "AM904",
            "layer `fc` (InnerProduct): has the blobs weight 2x5; "
            "the layer of its name in the train network has weight 2x3, bias 2",
        )
    ]


@pytest.mark.parametrize("ratio", ["1", "-0.5", "nan"])
def test_dropout_must_leave_something(ratio: str, tmp_path: Path) -> None:
    text = INPUTS + layer("d", "Dropout", "x", "d", f"dropout_param {{ dropout_ratio: {ratio} }}")
    with pytest.raises(DiagnosticError, match="`dropout_ratio` must be 0 or more and below 1") as caught:
        Network(read_net(tmp_path, text), phase="TRAIN").forward({"x": X})
    assert [found.code for found in caught.value.diagnostics] == ["AM320"]


@pytest.mark.parametrize("name", ["gpu", "cuda:999"])
def test_a_device_that_is_not_there_is_told_of(name: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=f"torch cannot use the device `{name}`: ") as caught:
        Network(read_net(tmp_path, INPUTS + FC), phase="TRAIN", device=name)
    assert [found.code for found in caught.value.diagnostics] == ["AM906"]


@pytest.mark.parametrize(
    ("feeds", "code"),
    [
        ({"x": X}, "AM400"),
        ({"x": X, "label": LABELS, "y": X}, "AM401"),
        ({"x": X[:, :2], "label": LABELS}, "AM402"),
        ({"x": X * np.nan, "label": LABELS}, "AM404"),
        ({"x": X, "label": LABELS + 5}, "AM432"),
        ({"x": X, "label": LABELS[:3]}, "AM320"),
    ],
)
def test_what_is_fed_must_fit(
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], code: str, tmp_path: Path
) -> None:
    network = Network(read_net(tmp_path, INPUTS + FC + layer("l", "SoftmaxWithLoss", "fc label", "l")), phase="TRAIN")
    with pytest.raises(DiagnosticError) as caught:
        network.forward(feeds)
    assert [found.code for found in caught.value.diagnostics] == [code]


def test_weights_that_are_missing_are_told_of(tmp_path: Path) -> None:
    graph = read_net(tmp_path, INPUTS + FC)
    graph.node("fc").weights.clear()
    with pytest.raises(DiagnosticError, match="has no weight") as caught:
        Network(graph, phase="TRAIN").forward({"x": X, "label": LABELS})
    assert caught.value.diagnostics[0].code == "AM420"


def test_without_torch_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_missing.need_torch()
    monkeypatch.setattr(torch_missing, "find_spec", lambda name: None)
    with pytest.raises(DiagnosticError) as caught:
        torch_missing.need_torch()
    (found,) = caught.value.diagnostics
    assert found.code == "AM900" and found.help is not None and 'pip install "amctc[torch]"' in found.help


def test_every_rule_is_of_an_op_of_the_table() -> None:
    assert RULES.keys() <= builtin_ops().keys()
    assert RULES.keys() >= NO_GRADIENT
