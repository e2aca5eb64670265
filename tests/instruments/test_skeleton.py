"""What is taken away from a graph leaves a graph that is whole and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.verify import verify
from amctc.reproducer.skeleton import Skeleton
from amctc.runtime.executor import Executor, read_inputs
from tests.e2e.command import MODEL, WEIGHTS
from tests.instruments.passes import blocks
from tests.nets import conv, layer, make_net
from tests.quantized import quantize, random_feeds

POOL = "pooling_param { kernel_size: 2 stride: 2 }"
BRANCHES = (
    blocks(2)
    + conv("left", "b1", 3, kernel=1)
    + conv("right", "b0", 3, kernel=1)
    + layer("sum", "Eltwise", "left right", "sum")
    + 'layer { name: "cut" type: "Slice" bottom: "sum" top: "one" top: "two" slice_param { slice_point: 1 } }\n'
    + layer("pool", "Pooling", "two", "pool", POOL)
    + layer("cat", "Concat", "two one sum", "cat")
)


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return make_net(tmp_path_factory.mktemp("net"), BRANCHES)


def run(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=value.shape or ()).astype(np.float32) for name, value in read_inputs(graph).items()}
    Executor(graph).run(feeds)


def test_a_graph_built_from_its_skeleton_is_the_same_with_arrays_of_its_own() -> None:
    graph = quantize(load_model(MODEL, WEIGHTS), random_feeds(load_model(MODEL), 1))
    again = Skeleton.of(graph).build()
    assert again == graph
    assert again.node("conv1").weights["weight"] is not graph.node("conv1").weights["weight"]


def test_layers_that_share_an_array_share_the_copy() -> None:
    graph, shared = Graph("g"), np.ones(3, np.float32)
    first = graph.add("a", "caffe.Scale", weights={"scale": shared})
    graph.add("b", "caffe.Scale", [first.output], weights={"scale": shared})
    again = Skeleton.of(graph).build()
    assert again.node("a").weights["scale"] is again.node("b").weights["scale"]
    assert again.node("a").weights["scale"] is not shared


@given(data=st.data())
def test_any_layers_can_be_taken_away(data: st.DataObject, branches: Graph) -> None:
    whole = Skeleton.of(branches)
    names = data.draw(st.sets(st.sampled_from(whole.names), min_size=1))
    smaller = whole.without(names)
    if smaller is None:
        assert names == set(whole.names)
        return
    assert set(smaller.names) == set(whole.names) - names
    graph = smaller.build()
    verify(graph)
    assert graph.outputs
    run(graph)


@given(data=st.data())
def test_only_what_an_output_depends_on_is_kept(data: st.DataObject, branches: Graph) -> None:
    whole = Skeleton.of(branches)
    wanted = data.draw(st.sampled_from([(name, 0) for name in whole.names]))
    graph = whole.with_outputs([wanted]).build()
    verify(graph)
    run(graph)
    assert graph.nodes[-1].name == wanted[0]


def test_a_layer_whose_shapes_agree_is_bypassed_and_another_becomes_an_input(tmp_path: Path) -> None:
    text = blocks(1) + layer("pool", "Pooling", "b0", "pool", POOL) + conv("tail", "pool", 3)
    whole = Skeleton.of(make_net(tmp_path, text))
    bypassed = whole.without(["b0/relu", "b0/scale"])
    assert bypassed is not None
    assert [node.inputs[0].name for node in bypassed.build().nodes if node.name == "pool"] == ["b0/bn"]
    cut = whole.without(["pool"])
    assert cut is not None
    graph = cut.build()
    (source,) = graph.node("tail").inputs
    assert (source.name, source.producer.type, source.shape) == ("pool.in", "Input", (2, 4, 4, 4))
    assert sorted(value.name for value in graph.outputs) == ["b0/relu", "tail"]


def test_the_data_of_a_network_go_with_the_layers_that_read_them(tmp_path: Path) -> None:
    whole = Skeleton.of(make_net(tmp_path, blocks(1) + layer("pool", "Pooling", "b0", "pool", POOL)))
    left = whole.without([name for name in whole.names if name != "pool"])
    assert left is not None
    assert [layer.name for layer in left.layers] == ["b0/relu.in", "pool"]
