"""Statistics renewed by batches: against the real Caffe's blobs, and against their definition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.op import BatchStatistics
from amctc.dialects.table import op_def
from amctc.frontends import load_model
from amctc.frontends.caffe import NetState, load_caffe
from amctc.frontends.caffe.batch_norm_file import read_statistics
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node
from amctc.runtime.batch_statistics import StatisticsUpdate, statistics_trait, update_statistics
from amctc.runtime.executor import Executor
from amctc.targets.caffe.batch_norm_file import batch_norm_file
from tests.nets import conv, data, layer, make_net
from tests.runtime.batch_norm_reference import (
    TOLERANCE,
    TRAINING,
    Blobs,
    blobs_of,
    difference,
    digits,
    mnist_bn,
    moving_cases,
    step,
    trained,
    training_batch,
)
from tests.runtime.caffe_cases import CaffeCase
from tests.runtime.caffe_passes import load_case
from tests.shared_files import needs_golden

ROLES = ("mean", "variance", "factor")
BATCH = "batch_norm_param { use_global_stats: false }"
HALF = "batch_norm_param { use_global_stats: false moving_average_fraction: 0.5 }"

Statistics = Mapping[Node, Mapping[str, NDArray[np.float32]]]


def trait(node: Node) -> BatchStatistics:
    found = op_def(node).statistics
    assert found is not None
    return found


def assert_equal_blobs(found: Statistics, expected: Mapping[str, Blobs]) -> None:
    assert [node.name for node in found] == list(expected)
    apart = {
        (node.name, role): difference(found[node][role], expected[node.name][index])
        for node in found
        for index, role in enumerate(ROLES)
    }
    assert {place: each for place, each in apart.items() if each > TOLERANCE} == {}


def two_layers(folder: Path, more: str = "") -> Graph:
    """A BatchNorm in place on a convolution, and one behind another convolution."""
    text = (
        data("2 3 6 6")
        + conv("first", "data", 4)
        + layer("bn", "BatchNorm", "first", "first", BATCH + more)
        + conv("second", "first", 4, 1)
        + layer("bn2", "BatchNorm", "second", "out", HALF + more)
    )
    return make_net(folder, text)


def batches(count: int, shape: tuple[int, ...] = (2, 3, 6, 6)) -> list[dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(3)
    return [{"data": rng.normal(1, 2, shape).astype(np.float32)} for _ in range(count)]


# -- the real Caffe --------------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize("case", moving_cases(), ids=str)
def test_the_statistics_are_caffes_after_every_step(case: CaffeCase) -> None:
    graph = load_case(case)
    update = StatisticsUpdate(graph, 0.999)
    executor = Executor(graph, fetch=update.values) if update.nodes else None
    for number in range(case.steps):
        recorded = case.recorded(number)
        expected = blobs_of(recorded, "param_after")
        if executor is None:  # `use_global_stats: true` in phase TRAIN: they stay
            stored = {node: node.weights for node in graph.nodes if node.name in expected}
            assert all((stored[n][r] == expected[n.name][i]).all() for n in stored for i, r in enumerate(ROLES))
            continue
        update.feed(executor.run({"data": recorded["in/data"]}))
        assert update.batches == number + 1
        assert_equal_blobs(update.statistics, expected)


@needs_golden
def test_cases_of_every_kind_were_recorded() -> None:
    assert len(moving_cases()) == 11


@needs_golden
@pytest.mark.parametrize(("solver", "passes"), [("sgd_plain", 1), ("adam", 1), ("sgd_iter_size2", 2)])
def test_the_statistics_of_a_net_that_caffe_trained_are_caffes_after_each_iteration(solver: str, passes: int) -> None:
    recorded = trained(solver)
    graph = load_caffe(
        TRAINING / "small_bn.prototxt",
        TRAINING / "small_bn.init.caffemodel",
        state=NetState("TRAIN"),
        keep_training=True,
    )
    for iteration in (1, 2):
        seen = [training_batch((iteration - 1) * passes + number) for number in range(passes)]
        found = update_statistics(graph, [{"data": batch, "label": np.zeros(len(batch))} for batch in seen], 0.999)
        assert_equal_blobs(found, {n.name: blobs_of(recorded, f"after{iteration}")[n.name] for n in found})
        assert len(found) == 3
        for node in graph.nodes:
            for index, role in enumerate(list(node.weights)):
                node.weights[role] = recorded[f"after{iteration}/{node.name}/{index}"]


@needs_golden
def test_a_trained_net_is_renewed_as_the_definition_says() -> None:
    graph = load_model(*mnist_bn())
    for node in graph.nodes:
        if op_def(node).statistics is not None:
            trait(node).use_batch(node)
    images = digits(96).reshape(3, 32, 1, 28, 28)
    found = update_statistics(graph, [{"data": batch} for batch in images], 0.5)
    assert [node.name for node in found] == ["conv1/bn", "conv2_dw/bn", "conv2_pw/bn", "conv3/bn"]
    executor = Executor(graph, fetch=[node.inputs[0] for node in found])
    expected: dict[str, Blobs] = {node.name: list(node.weights.values()) for node in found}
    for batch in images:
        seen = executor.run({"data": batch})
        for node in found:  # 0.95 is what the layers say themselves
            after = step(expected[node.name], seen[node.inputs[0]], 0.95)
            expected[node.name] = [array.astype(np.float32) for array in after]
    assert_equal_blobs(found, expected)


# -- a graph ---------------------------------------------------------------------------------------


def test_the_graph_stays_as_it_is_and_the_layers_are_renewed_in_its_order(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    before = {node.name: dict(node.weights) for node in graph.nodes}
    told: list[int] = []
    found = update_statistics(graph, batches(3), 0.25, told.append)
    assert told == [1, 2, 3]
    assert [node.name for node in found] == ["bn", "bn2"]
    assert all(node.weights[role] is array for node in graph.nodes for role, array in before[node.name].items())
    # 2 at first; `bn2` says its fraction itself.
    assert found[graph.node("bn")]["factor"].item() == ((2 * 0.25 + 1) * 0.25 + 1) * 0.25 + 1
    assert found[graph.node("bn2")]["factor"].item() == ((2 * 0.5 + 1) * 0.5 + 1) * 0.5 + 1


def test_batches_fed_in_turn_are_those_of_one_run(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    once = update_statistics(graph, batches(2), 0.25)
    update = StatisticsUpdate(graph, 0.25)
    for batch in batches(2):
        update.feed(Executor(graph, fetch=update.values).run(batch))
    assert all((update.statistics[node][role] == once[node][role]).all() for node in once for role in ROLES)


def test_layers_that_share_their_blobs_renew_them_one_after_the_other(tmp_path: Path) -> None:
    names = " ".join(f'param {{ name: "{name}" }}' for name in ROLES)
    text = data("4 3") + "".join(
        layer(name, "BatchNorm", "data", name, f"batch_norm_param {{ use_global_stats: false }} {names}")
        for name in ("one", "two")
    )
    graph = make_net(tmp_path, text)
    one, two = graph.node("one"), graph.node("two")
    assert one.weights["mean"] is two.weights["mean"]
    (batch,) = batches(1, (4, 3))
    found = update_statistics(graph, [batch], 0.5)
    blobs: Blobs = list(one.weights.values())
    for _ in range(2):
        blobs = [array.astype(np.float32) for array in step(blobs, batch["data"], 0.5)]
    for node in (one, two):
        assert all(difference(found[node][role], blobs[i]) <= TOLERANCE for i, role in enumerate(ROLES))


def test_a_graph_without_such_layers_is_not_run(tmp_path: Path) -> None:
    text = data("2 3") + layer("bn", "BatchNorm", "data", "out", "batch_norm_param { use_global_stats: true }")
    assert update_statistics(make_net(tmp_path, text), iter([{}]), 0.5) == {}


def test_a_layer_is_made_to_use_its_batch_and_keeps_its_other_parameters(tmp_path: Path) -> None:
    parameter = "batch_norm_param { moving_average_fraction: 0.75 eps: 0.5 }"
    text = data("2 3") + layer("bn", "BatchNorm", "data", "out", parameter) + layer("relu", "ReLU", "out", "out")
    graph = make_net(tmp_path, text)
    node = graph.node("bn")
    assert not trait(node).uses_batch(node)
    trait(node).use_batch(node)
    assert trait(node).uses_batch(node)
    assert trait(node).fraction(node) == 0.75
    (batch,) = batches(1, (2, 3))
    x = batch["data"]
    expected = np.maximum((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.5), 0)
    (found,) = Executor(graph).run(batch).values()
    assert difference(found, expected) <= 2e-6
    with pytest.raises(ValueError, match="no running statistics"):
        statistics_trait(graph.node("relu"))


def test_a_layer_that_says_no_fraction_has_none(tmp_path: Path) -> None:
    node = two_layers(tmp_path).node("bn")
    assert trait(node).fraction(node) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_no_numbers_name_the_layer(tmp_path: Path, value: float) -> None:
    update = StatisticsUpdate(two_layers(tmp_path), 0.5)
    arrays = {value: np.ones((2, 4, 4, 4), np.float32) for value in update.values}
    update.feed(arrays)
    arrays[update.values[1]][1, 2, 0, 3] = value
    with pytest.raises(DiagnosticError, match=r"AM404.*input of layer `bn2` holds NaN or Inf"):
        update.feed(arrays)


def test_statistics_that_become_no_numbers_name_the_layer(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    graph.node("bn2").weights["variance"] = np.full(4, np.inf, np.float32)
    with pytest.raises(DiagnosticError, match=r"AM404.*statistics of layer `bn2` become NaN or Inf"):
        update_statistics(graph, batches(1), 0.5)


# -- the file --------------------------------------------------------------------------------------


def test_the_file_brings_the_statistics_back(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    nodes = [graph.node("bn"), graph.node("bn2")]
    found = update_statistics(graph, batches(2), 0.5)
    for node in nodes:
        node.weights.update(found[node])
    path = tmp_path / "batchnorm.caffemodel"
    path.write_bytes(batch_norm_file({node.name: node.weights for node in nodes}))
    assert {name: [blob.shape for blob in blobs] for name, blobs in read_weights(path).items()} == {
        "bn": [(4,), (4,), (1,)],
        "bn2": [(4,), (4,), (1,)],
    }
    fresh = two_layers(tmp_path)
    read_statistics(path, fresh)
    for node in nodes:
        own = fresh.node(node.name).weights
        assert list(own) == list(ROLES)
        assert all((own[role] == node.weights[role]).all() for role in ROLES)


def test_a_layer_that_the_file_lacks_is_named_and_nothing_changes(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    path = tmp_path / "batchnorm.caffemodel"
    path.write_bytes(batch_norm_file({"other": graph.node("bn").weights, "bn2": graph.node("bn2").weights}))
    before = graph.node("bn2").weights["mean"]
    with pytest.raises(DiagnosticError, match=r"AM313.*layer `bn` .*has no statistics in") as caught:
        read_statistics(path, graph)
    assert caught.value.diagnostics[0].help == "weights are matched by layer name"
    assert graph.node("bn2").weights["mean"] is before


def test_a_layer_that_the_file_calls_nearly_so_is_pointed_out(tmp_path: Path) -> None:
    text = data("2 3") + layer("normalize", "BatchNorm", "data", "out", BATCH)
    graph = make_net(tmp_path, text)
    path = tmp_path / "batchnorm.caffemodel"
    path.write_bytes(batch_norm_file({"normalise": graph.node("normalize").weights}))
    with pytest.raises(DiagnosticError) as caught:
        read_statistics(path, graph)
    assert caught.value.diagnostics[0].help == "did you mean `normalise`?"


def test_statistics_of_other_channels_are_not_taken(tmp_path: Path) -> None:
    graph = two_layers(tmp_path)
    node = graph.node("bn2")
    node.weights["variance"] = np.ones(5, np.float32)
    path = tmp_path / "batchnorm.caffemodel"
    path.write_bytes(batch_norm_file({"bn": graph.node("bn").weights, "bn2": node.weights}))
    fresh = two_layers(tmp_path)
    with pytest.raises(DiagnosticError, match=r"AM314.*its variance must have 4 numbers, .* has 5"):
        read_statistics(path, fresh)


def test_a_file_that_is_no_caffemodel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "batchnorm.caffemodel"
    path.write_bytes(b"\x0b\xff")
    with pytest.raises(DiagnosticError, match="AM311"):
        read_statistics(path, two_layers(tmp_path))
    with pytest.raises(DiagnosticError, match="AM310"):
        read_statistics(tmp_path / "none.caffemodel", two_layers(tmp_path))
