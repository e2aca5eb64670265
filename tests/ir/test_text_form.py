"""The textual form of a graph reads back as the same graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph, InputQuant, NodeQuant, Origin, Provenance, Value, WeightQuant
from amctc.ir.parser import parse_graph
from amctc.ir.printer import plain_text, print_graph
from amctc.quant.hfmg import HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.snq_settings import SnqSettings
from amctc.source import SourceFile
from amctc.text.plain import Plain, Symbol

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
FLOATS = st.floats(allow_nan=False)
SYMBOLS = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).map(Symbol)
SCALARS = st.booleans() | st.integers() | FLOATS | NAMES | st.binary(max_size=6) | SYMBOLS
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
PLAINS: st.SearchStrategy[Plain] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def array_of(seed: int, size: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    return np.asarray(np.random.default_rng(seed).normal(scale=50, size=size)).astype(dtype)


ARRAYS = st.builds(
    array_of,
    st.integers(0, 1000),
    st.sampled_from([(3,), (2, 3), (5, 4, 4), (0,), (1, 1, 1, 1)]),
    st.sampled_from(["float32", "int8", "int32", "float64"]),
)
SHAPES: st.SearchStrategy[tuple[int, ...]] = st.lists(st.integers(0, 9), max_size=4).map(tuple)
QUANTS = st.builds(
    NodeQuant,
    inputs=st.just((InputQuant(0, IfmrSettings(bits=12, search_range=(0.5, 1.5)), 0.125, -3),))
    | st.just((InputQuant(0, HfmgSettings(16, False, 1024), 0.125, -3), InputQuant(1, HfmgSettings()))),
    weight=st.none()
    | st.just(WeightQuant("arq_quantize", 8, True))
    | st.just(WeightQuant("arq_quantize", 8, True, {"w": np.array([0.1, 0.3], np.float32)}))
    | st.just(WeightQuant("snq_quantize", 4, True, clustering=SnqSettings(1500, 1e-5, "gaussian")))
    | st.just(WeightQuant("snq_quantize", 4, False, tables={"w": np.arange(-8, 8, dtype=np.int8)[np.newaxis]})),
    rule=st.none() | NAMES,
    state=st.none() | st.just(InputQuant(1, IfmrSettings(), 0.5, 3)),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph(draw(NAMES))
    graph.attrs = draw(st.dictionaries(KEYS, PLAINS, max_size=2))
    values: list[Value] = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=6, unique=True)):
        inputs: list[Value] = draw(st.lists(st.sampled_from(values), max_size=3)) if values else []
        node = graph.add(
            name,
            draw(st.sampled_from(["caffe.Convolution", "onnx.Conv", "quant.Quantize"])),
            inputs,
            draw(st.lists(NAMES, min_size=1, max_size=2)),
            attrs=draw(st.dictionaries(KEYS, PLAINS, max_size=3)),
            weights=draw(st.dictionaries(KEYS, ARRAYS, max_size=2)),
            provenance=Provenance(
                draw(st.none() | st.builds(Origin, NAMES, st.integers(1, 10**6))),
                absorbed=tuple(draw(st.lists(NAMES, max_size=2))),
                inserted=draw(st.booleans()),
            ),
        )
        if draw(st.booleans()):
            node.record(draw(NAMES), draw(NAMES), draw(st.none() | NAMES))
        annotated = draw(st.booleans())
        if inputs and annotated:
            node.quant = draw(QUANTS)
        for value in node.outputs:
            value.shape = draw(st.none() | SHAPES)
            value.dtype = draw(st.sampled_from(["float32", "int8"]))
        values.extend(node.outputs)
    graph.outputs = draw(st.lists(st.sampled_from(values), max_size=2, unique=True))
    return graph


@given(graphs())
def test_a_printed_graph_reads_back_equal_and_prints_the_same(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(SourceFile("graph", text))
    assert again == graph
    assert print_graph(again) == text


def test_graphs_that_differ_in_one_weight_are_not_equal() -> None:
    def make(number: float) -> Graph:
        graph = Graph("g")
        graph.add("a", "caffe.Scale", weights={"scale": np.array([number], np.float32)})
        return graph

    assert make(1.0) == make(1.0)
    assert make(1.0) != make(1.5)


def test_short_weights_are_written_as_numbers_and_long_ones_may_be_left_out() -> None:
    graph = Graph("g")
    graph.add("a", "caffe.Scale", weights={"scale": np.array([0.1, 2], np.float32), "long": np.zeros(65, np.float32)})
    text = print_graph(graph, elide_weights=True)
    assert "weight scale float32[2] = [0.1, 2.0]" in text
    assert 'weight long float32[65] = elided "' in text
    with pytest.raises(DiagnosticError, match="left out when the graph was printed"):
        parse_graph(SourceFile("graph", text))


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('graph "g" {\n  nonsense\n}', 2, 3, "not the textual form"),
        ('graph "g" {\n  output "x"\n}', 2, 10, 'has the output `"x"`'),
        ('graph "g" {\n node "a" caffe.ReLU () { weight w float31[1] = [1.0] }\n}', 2, 36, "not an element type"),
        ('graph "g" {\n node "a" caffe.ReLU () { weight w int8[1] = [1000] }\n}', 2, 36, "do not fit"),
        ('graph "g" {\n node "a" caffe.ReLU () {}\n node "a" caffe.ReLU () {}\n}', 3, 7, "two nodes named `a`"),
        ('graph "g" {\n node "a" caffe.ReLU () { quant {inputs: [1]} }\n}', 2, 27, "not a quantization annotation"),
    ],
)
def test_a_text_that_is_no_graph_is_refused_at_the_character(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse_graph(SourceFile("g.txt", text))
    (found,) = caught.value.diagnostics
    assert words in found.message
    assert found.span is not None
    assert (found.span.line, found.span.column) == (line, column)


def test_plain_values_have_one_notation_each() -> None:
    assert plain_text({"a": (True, 1, 1.0, "x", Symbol("MAX"), b"\x01")}) == '{a: [true, 1, 1.0, "x", MAX, b"01"]}'
