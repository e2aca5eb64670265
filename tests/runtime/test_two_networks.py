"""Two networks that are run side by side: each layer is settled on what the settled ones before it give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.ir import Graph
from amctc.ir.copying import copy_graph
from amctc.runtime.executor import Executor
from amctc.runtime.two_networks import Arrays, settle_layers
from tests.nets import conv, data, layer, make_net
from tests.quantized import random_feeds

NET = (
    data("2 3 6 6")
    + conv("first", "data", 4)
    + layer("relu", "ReLU", "first", "relu")
    + conv("left", "relu", 3)
    + conv("right", "relu", 3)
    + layer("sum", "Eltwise", "left right", "sum")
    + conv("last", "sum", 2, 1)
)
LAYERS = ("first", "left", "right", "last")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return make_net(tmp_path, NET)


def values(graph: Graph, feeds: Sequence[dict[str, NDArray[np.float32]]], output: str) -> list[NDArray[np.float32]]:
    value = graph.node(output).output
    return [Executor(graph, fetch=[value]).run(each)[value] for each in feeds]


def test_a_layer_sees_what_the_settled_ones_give_and_what_the_float_one_gave(graph: Graph) -> None:
    feeds = random_feeds(graph, 0, 3)
    twin = copy_graph(graph)
    seen: dict[str, tuple[Arrays, Arrays]] = {}

    def settle(name: str, given: Arrays, wanted: Arrays) -> Arrays:
        seen[name] = (given, wanted)
        return [array + 1 for array in wanted]

    assert settle_layers(graph, twin, LAYERS, feeds, 1 << 30, settle) == 3
    assert list(seen) == list(LAYERS)
    for name in LAYERS:
        for found, expected in zip(seen[name][1], values(graph, feeds, name), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    behind = [np.maximum(array + 1, 0) for array in values(graph, feeds, "first")]
    sums = [a + b + 2 for a, b in zip(values(graph, feeds, "left"), values(graph, feeds, "right"), strict=True)]
    for name, read in {"left": behind, "right": behind, "last": sums}.items():
        for found, wanted in zip(seen[name][0], read, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_layers_between_compute_with_the_twin_s_weights(graph: Graph) -> None:
    feeds = random_feeds(graph, 0, 1)
    twin = copy_graph(graph)
    twin.node("left").weights["weight"] = np.zeros_like(graph.node("left").weights["weight"])
    given: list[NDArray[np.float32]] = []

    def settle(name: str, read: Arrays, wanted: Arrays) -> Arrays:
        given.extend(read)
        return wanted

    settle_layers(graph, twin, ("last",), feeds, 1 << 30, settle)
    (found,), (expected,) = given, values(twin, feeds, "sum")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_only_as_many_batches_as_fit_are_kept_but_one_at_least(graph: Graph) -> None:
    feeds = random_feeds(graph, 0, 4)
    shapes = {name: array.shape for name, array in feeds[0].items()}
    twin = copy_graph(graph)
    both = 0
    for net in (graph, twin):
        layers = [net.node(name) for name in LAYERS]
        fetch = [value for node in layers for value in (node.output, *(node.inputs if net is twin else ()))]
        both += Executor(net, fetch=list(dict.fromkeys(fetch)), apart=layers).bytes_alive(shapes)

    def settle(name: str, read: Arrays, wanted: Arrays) -> Arrays:
        return wanted

    counts = [settle_layers(graph, twin, LAYERS, feeds, most, settle) for most in (1, both, 3 * both, 100 * both)]
    assert counts == [1, 1, 3, 4]
    assert settle_layers(graph, twin, LAYERS, [], 1, settle) == 0
