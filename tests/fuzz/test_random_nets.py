"""Random legal nets: import, verify, print and parse, export, re-import; the graph and its numbers stay the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from numpy.typing import NDArray

from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.ir.verify import verify
from amctc.runtime.executor import graph_inputs, run_graph
from amctc.source import SourceFile
from amctc.targets.caffe.files import caffemodel, prototxt
from tests.fuzz.random_nets import TEMPLATES, nets
from tests.nets import write_net


@given(nets())
def test_a_net_survives_print_and_parse_and_export_and_import(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = _load(*write_net(Path(folder), text))
        verify(graph)
        printed = print_graph(graph)
        assert print_graph(parse_graph(SourceFile("graph", printed))) == printed
        again = _write_and_read(graph, Path(folder))
        assert _described(again) == _described(graph)
        for node in graph:
            for role, array in node.weights.items():
                np.testing.assert_array_equal(again.node(node.name).weights[role], array)
        _same_numbers(graph, again)


def test_most_layer_types_have_a_template() -> None:
    assert len(TEMPLATES) > 65


def _load(model: Path, weights: Path) -> Graph:
    return load_model(model, weights if weights.stat().st_size else None)


def _write_and_read(graph: Graph, folder: Path) -> Graph:
    model, weights = folder / "again.prototxt", folder / "again.caffemodel"
    model.write_text(prototxt(graph), encoding="utf-8")
    weights.write_bytes(caffemodel(graph, fake=True) if any(node.weights for node in graph) else b"")
    return _load(model, weights)


def _described(graph: Graph) -> list[tuple[Any, ...]]:
    return [
        (
            node.name,
            node.op,
            node.attrs,
            [value.name for value in node.inputs],
            [(value.blob, value.shape, value.dtype) for value in node.outputs],
        )
        for node in graph
    ]


def _same_numbers(first: Graph, second: Graph) -> None:
    rng = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.float32]] = {
        name: rng.uniform(0.1, 2, value.shape).astype(np.float32)
        for name, value in graph_inputs(first).items()
        if value.shape is not None
    }
    before, after = run_graph(first, feeds), run_graph(second, feeds)
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
