"""The verbs of a graph keep its topology, its order and its blob names right."""

from __future__ import annotations

import pytest

from amctc.ir import Graph, Node, Use
from amctc.ir.verify import InvalidGraph, verify


def chain(*names: str) -> tuple[Graph, list[Node]]:
    """A graph of one-input nodes, each reading the one before it."""
    graph = Graph("chain")
    nodes: list[Node] = []
    for name in names:
        nodes.append(graph.add(name, "caffe.ReLU", [nodes[-1].output] if nodes else []))
    graph.outputs = [nodes[-1].output]
    return graph, nodes


def test_nodes_come_in_topological_order_and_otherwise_as_they_were_added() -> None:
    graph = Graph()
    data = graph.add("data", "caffe.Input")
    left = graph.add("left", "caffe.ReLU", [data.output])
    right = graph.add("right", "caffe.ReLU", [data.output])
    graph.add("sum", "caffe.Eltwise", [right.output, left.output])
    assert [node.name for node in graph.nodes] == ["data", "left", "right", "sum"]
    assert [value.name for value in graph.node("sum").inputs] == ["right", "left"]


def test_a_node_inserted_before_a_use_stands_beside_it_and_leaves_other_uses_alone() -> None:
    graph, (a, b, c) = chain("a", "b", "c")
    other = graph.add("other", "caffe.ReLU", [a.output])
    new = graph.insert_before([Use(b, 0)], "new", "quant.Quantize")
    assert [node.name for node in graph.nodes] == ["a", "new", "b", "c", "other"]
    assert b.inputs == (new.output,)
    assert other.inputs == (a.output,)
    assert c.inputs == (b.output,)


def test_a_node_inserted_after_a_value_takes_over_its_readers_its_blob_name_and_its_place_among_the_outputs() -> None:
    graph, (a, b) = chain("a", "b")
    new = graph.insert_after(b.output, "new", "quant.Dequantize")
    assert graph.outputs == [new.output]
    assert new.output.blob == "b"
    assert new.inputs == (b.output,)
    middle = graph.insert_after(a.output, "middle", "quant.Dequantize")
    assert b.inputs == (middle.output,)


def test_fusing_removes_a_node_and_keeps_the_name_of_its_blob_and_that_it_was_there() -> None:
    graph, (a, b, c) = chain("a", "b", "c")
    graph.fuse(a, b, "some-pass", "took b in")
    assert [node.name for node in graph.nodes] == ["a", "c"]
    assert a.output.blob == "b"
    assert a.provenance.absorbed == ("b",)
    assert a.provenance.changes[-1].by == "some-pass"
    assert c.inputs == (a.output,)


def test_fusing_the_last_node_makes_its_producer_the_output() -> None:
    graph, (a, b) = chain("a", "b")
    graph.fuse(a, b, "some-pass", "took b in")
    assert graph.outputs == [a.output]


def test_a_node_that_is_still_read_cannot_be_removed() -> None:
    graph, (a, b) = chain("a", "b")
    with pytest.raises(ValueError, match="'a' is still read"):
        graph.remove(a)
    with pytest.raises(ValueError, match="'b' is still read"):
        graph.remove(b)


def test_two_nodes_cannot_have_one_name() -> None:
    graph, _ = chain("a")
    with pytest.raises(ValueError, match="exists already"):
        graph.add("a", "caffe.ReLU")
    assert graph.unused_name("a") == "a_1"


def test_a_single_use_is_one_reader_and_no_output() -> None:
    graph, (a, b) = chain("a", "b")
    assert graph.has_single_use(a.output)
    assert not graph.has_single_use(b.output)
    graph.add("c", "caffe.ReLU", [a.output])
    assert not graph.has_single_use(a.output)


def test_verify_names_a_cycle() -> None:
    graph, (a, b, c) = chain("a", "b", "c")
    graph.add("d", "caffe.Eltwise", [c.output, a.output])
    graph.set_input(Use(b, 0), graph.node("d").output)
    with pytest.raises(InvalidGraph, match=r"cycle: .*b -> "):
        verify(graph)


def test_verify_finds_a_gap_between_inputs() -> None:
    graph, (a, b) = chain("a", "b")
    graph.set_input(Use(b, 2), a.output)
    with pytest.raises(InvalidGraph, match="not numbered from 0"):
        verify(graph)


def test_verify_finds_an_output_that_is_not_in_the_graph() -> None:
    graph, _ = chain("a")
    stranger, _ = chain("x")
    graph.outputs = list(stranger.outputs)
    with pytest.raises(InvalidGraph, match="'x' is not a value"):
        verify(graph)


def test_a_value_of_another_graph_is_refused() -> None:
    graph, _ = chain("a")
    _, (x,) = chain("x")
    with pytest.raises(ValueError, match="another graph"):
        graph.add("b", "caffe.ReLU", [x.output])
