"""`amctc compare`: two models on the same data, value by value."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc import driver
from amctc.diagnostics import Collector, DiagnosticError
from amctc.ir import Graph
from amctc.runtime.comparison import Difference
from tests.e2e.command import MODEL, SCORED, WEIGHTS, compile_digits, succeed
from tests.e2e.command import amctc as command
from tests.nets import data, layer, make_net
from tests.onnx_nets import load, make_model, normal

SIGNATURE = "(float[N, 3] x) => (float[N, 2] y)"
BODY = "h = Relu(x)  m = MatMul(h, w)  y = Add(m, b)"


def net(folder: Path, weight: NDArray[np.float32], body: str = BODY, signature: str = SIGNATURE) -> Graph:
    folder.mkdir()
    return load(make_model(signature, body, {"w": weight, "b": np.zeros(2, np.float32)}), folder)


def two_nets(folder: Path) -> tuple[Graph, Graph]:
    weight = normal((3, 2))
    return net(folder / "a", weight), net(folder / "b", (weight * np.float32(1.5)).astype(np.float32))


def test_every_common_value_is_measured_in_the_order_of_the_first_model(tmp_path: Path) -> None:
    a, b = two_nets(tmp_path)
    x = normal((7, 3), 1)
    found = amctc.compare(a, b, data={"x": x}, batch_size=3)
    assert found.count == 7
    names = [value.name for value in found.values]
    assert names[0] == "h" and names[-1] == "y"
    assert [value.output for value in found.values] == [name == "y" for name in names]
    same, last = found.values[0].difference, found.values[-1].difference
    assert same.cosine == pytest.approx(1)
    assert (same.sqnr, same.largest) == (math.inf, 0)
    y = np.maximum(x, 0) @ normal((3, 2))
    # It is one and a half times as large: the error is half of it.
    assert last.cosine == pytest.approx(1)
    assert last.sqnr == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert last.largest == pytest.approx(np.abs(y).max() / 2, rel=1e-5)
    assert last.same_top1 == 1


def test_batches_change_nothing(tmp_path: Path) -> None:
    a, b = two_nets(tmp_path)
    x = {"x": normal((8, 3), 1)}
    one, all_at_once = (amctc.compare(a, b, data=x, batch_size=size) for size in (1, 8))
    for left, right in zip(one.values, all_at_once.values, strict=True):
        assert left.difference.agreement.error == pytest.approx(right.difference.agreement.error)
        assert left.difference.largest == right.difference.largest


def test_the_same_model_agrees_with_itself(tmp_path: Path) -> None:
    a, _ = two_nets(tmp_path)
    for value in amctc.compare(a, a, data={"x": normal((4, 3))}).values:
        assert value.difference.sqnr == math.inf
        assert value.to_json()["sqnr_db"] is None
        assert value.to_json()["largest_difference"] == 0


def test_classes_are_those_of_the_highest_score() -> None:
    difference = Difference()
    difference.update(np.array([[0.0, 1, 2], [3, 1, 2]]), np.array([[0, 3, 2.0], [9, 1, 2]]))
    assert difference.same_top1 == 0.5
    boxes = Difference()
    boxes.update(np.ones((2, 5, 4)), np.ones((2, 5, 4)))
    assert boxes.same_top1 is None


def test_infinities_agree_with_their_like_only() -> None:
    masked = np.array([1.0, -np.inf, np.nan])
    difference = Difference()
    difference.update(masked, masked)
    assert (difference.largest, difference.sqnr) == (0, math.inf)
    difference.update(masked, np.array([1.0, 5, np.nan]))
    assert (difference.largest, difference.sqnr) == (math.inf, -math.inf)


def test_outputs_without_a_common_name_are_paired_by_position(tmp_path: Path) -> None:
    weight = normal((3, 2))
    a = net(tmp_path / "a", weight)
    body = "g = Relu(u)  n = MatMul(g, w)  scores = Add(n, b)"
    b = net(tmp_path / "b", weight, body, "(float[N, 3] u) => (float[N, 2] scores)")
    # The input, too, has another name.
    (only,) = amctc.compare(a, b, data={"x": normal((4, 3))}).values
    assert (only.name, only.other, only.difference.sqnr) == ("y", "scores", math.inf)


def test_values_of_other_names_can_be_asked_for(tmp_path: Path) -> None:
    weight = normal((3, 2))
    a = net(tmp_path / "a", weight)
    b = net(tmp_path / "b", weight, "g = Relu(x)  n = MatMul(g, w)  y = Add(n, b)")
    found = amctc.compare(a, b, data={"x": normal((4, 3))}, blobs=["h=g", "y"])
    assert [(value.name, value.other) for value in found.values] == [("h", "g"), ("y", "y")]
    with pytest.raises(DiagnosticError, match="AM408"):
        amctc.compare(a, b, data={"x": normal((4, 3))}, blobs=["h"])
    with pytest.raises(DiagnosticError, match="AM468"):
        amctc.compare(a, b, data={"x": normal((4, 3))}, blobs=["h=y"])


def test_outputs_of_different_shapes_are_told_and_left_out(tmp_path: Path) -> None:
    weight = normal((3, 2))
    a = net(tmp_path / "a", weight)
    body = "h = Relu(x)  m = MatMul(h, w)  t = Add(m, b)  y = Concat<axis = 1>(t, t)"
    b = net(tmp_path / "b", weight, body, "(float[N, 3] x) => (float[N, 4] y)")
    collector = Collector()
    found = amctc.compare(a, b, data={"x": normal((4, 3))}, collector=collector)
    assert "y" not in [value.name for value in found.values]
    assert [each.name for each in found.not_compared] == ["y"]
    assert [warning.code for warning in collector.warnings] == ["AM468"]


def test_models_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    a = make_net(tmp_path, data("1 3") + layer("relu", "ReLU", "data", "one"))
    (tmp_path / "b").mkdir()
    b = make_net(tmp_path / "b", data("1 3") + layer("both", "Concat", "data data", "one"))
    with pytest.raises(DiagnosticError, match="AM467"):
        amctc.compare(a, b, data={"data": normal((2, 3))})


def test_an_input_that_only_the_second_model_has_is_named(tmp_path: Path) -> None:
    weight = normal((3, 2))
    a = net(tmp_path / "a", weight)
    body = "z = Add(x, mask)  h = Relu(z)  m = MatMul(h, w)  y = Add(m, b)"
    b = net(tmp_path / "b", weight, body, "(float[N, 3] x, float[N, 3] mask) => (float[N, 2] y)")
    with pytest.raises(DiagnosticError, match=r"AM400.*`mask`"):
        amctc.compare(a, b, data={"x": normal((4, 3))})


def test_the_command_compares_a_quantized_network_with_its_float_one(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    other = tmp_path / "net_deploy_model.prototxt", tmp_path / "net_deploy_weights.caffemodel"
    arguments = "compare", MODEL, other[0], "--weights-a", WEIGHTS, "--weights-b", other[1], "--data", SCORED
    told: dict[str, Any] = json.loads(succeed(*arguments, "--json"))
    assert told.keys() == {"version", "count", "values", "not_compared"}
    assert (told["version"], told["count"], told["not_compared"]) == (1, 360, [])
    rows = {row["name"]: row for row in told["values"]}
    assert list(rows) == ["conv1", "conv2/dw", "conv2/pw", "conv2/sum", "pool2", "conv3", "pool3", "fc", "prob"]
    assert all(row["cosine"] > 0.99 and row["sqnr_db"] > 20 for row in rows.values())
    assert rows["prob"]["top1_agreement"] >= 0.99
    assert rows["fc"]["top1_agreement"] is None
    table = succeed(*arguments, "--blobs", "fc,prob").splitlines()
    assert [line.split("\t")[0] for line in table] == ["value", "fc", "prob"]


def test_the_command_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    outcome = command("compare", MODEL, MODEL, "--weights-a", WEIGHTS, "--data", tmp_path / "none.npz")
    assert outcome.status == 1
    assert "AM440" in outcome.stderr or "AM310" in outcome.stderr
    # Without weights the second model cannot run.
    outcome = command("compare", MODEL, MODEL, "--weights-a", WEIGHTS, "--data", SCORED)
    assert outcome.status == 1
    assert "AM420" in outcome.stderr
    outcome = command("compare", MODEL)
    assert outcome.status == 2


def test_files_and_graphs_give_the_same(tmp_path: Path) -> None:
    files = driver.compare_models(MODEL, MODEL, weights_a=WEIGHTS, weights_b=WEIGHTS, data=str(SCORED))
    graph = amctc.load(MODEL, WEIGHTS)
    assert files.to_json() == amctc.compare(graph, graph, data=str(SCORED)).to_json()
