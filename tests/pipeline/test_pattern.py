"""Chain patterns match what they say, through single-use edges only."""

from __future__ import annotations

import pytest

from amctc.ir import Graph
from amctc.pipeline.pattern import PatternError, parse_pattern

CONV_BN = "linear -> BatchNorm? -> Scale? -> Bias?"


def graph_of(*types: str) -> Graph:
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for type in types:
        value = graph.add(type.lower(), f"caffe.{type}", [value]).output
    graph.outputs = [value]
    return graph


def matched(graph: Graph, pattern: str, start: str) -> list[str] | None:
    match = parse_pattern(pattern).match(graph, graph.node(start))
    return None if match is None else [node.name for node in match.nodes]


def test_optional_steps_are_taken_when_they_are_there() -> None:
    assert matched(graph_of("Convolution", "BatchNorm", "Scale"), CONV_BN, "convolution") == [
        "convolution",
        "batchnorm",
        "scale",
    ]
    assert matched(graph_of("InnerProduct", "Bias"), CONV_BN, "innerproduct") == ["innerproduct", "bias"]


def test_a_chain_in_another_order_matches_as_far_as_the_order_holds() -> None:
    assert matched(graph_of("Convolution", "Scale", "BatchNorm"), CONV_BN, "convolution") == ["convolution", "scale"]


def test_a_first_step_alone_is_no_match_when_the_pattern_has_more() -> None:
    assert matched(graph_of("Convolution", "ReLU"), CONV_BN, "convolution") is None


def test_a_value_with_two_readers_or_that_is_an_output_ends_the_chain() -> None:
    graph = graph_of("Convolution", "BatchNorm")
    graph.add("second", "caffe.ReLU", [graph.node("convolution").output])
    assert matched(graph, CONV_BN, "convolution") is None
    graph = graph_of("Convolution", "BatchNorm")
    graph.outputs.append(graph.node("convolution").output)
    assert matched(graph, CONV_BN, "convolution") is None


def test_a_reader_through_its_second_input_ends_the_chain() -> None:
    graph = graph_of("Convolution")
    data, convolution = graph.node("data"), graph.node("convolution")
    graph.add("scale", "caffe.Scale", [data.output, convolution.output])
    assert matched(graph, CONV_BN, "convolution") is None


def test_alternatives_and_traits() -> None:
    assert matched(graph_of("ReLU", "Pooling"), "activation -> Pooling|Softmax", "relu") == ["relu", "pooling"]
    assert matched(graph_of("BatchNorm"), "BatchNorm|Scale", "batchnorm") == ["batchnorm"]


@pytest.mark.parametrize("text", ["", "linear ->", "linear? -> Scale", "nosuchtrait -> Scale", "a b"])
def test_a_bad_pattern_is_a_mistake_of_its_writer(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)
