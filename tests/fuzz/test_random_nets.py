"""Random legal nets: import, verify, print and parse, export, re-import; the graph and its numbers stay the same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_table
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.ir.verify import verify
from amctc.runtime.executor import run_graph
from amctc.source import SourceFile
from amctc.targets.caffe.files import caffemodel, prototxt
from tests.fuzz.random_nets import TYPES, blobs_of, fitting_feeds, layers, nets
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


@settings(max_examples=settings().max_examples // 25)
@given(draws=st.data())
def test_what_the_templates_make_is_legal(draws: st.DataObject) -> None:
    before = draws.draw(nets(most_layers=2))
    blobs = blobs_of(before)
    assert blobs is not None
    for kind in TYPES:
        longer = before + draws.draw(layers(kind, blobs))
        assert blobs_of(longer) is not None, longer


def test_every_layer_type_has_a_template() -> None:
    assert set(TYPES) == {row.type for row in op_table().values() if row.dialect == "caffe"}


def _load(model: Path, weights: Path) -> Graph:
    return load_model(model, weights if weights.stat().st_size else None, keep_training=True)


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
    feeds = fitting_feeds(first)
    before, after = _numbers(first, feeds), _numbers(second, feeds)
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def _numbers(graph: Graph, feeds: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[Any]]:
    """Every blob; or, where the figures turn out to be none a layer can take, what is said of it."""
    try:
        return run_graph(graph, feeds)
    except DiagnosticError as told:
        return {diagnostic.message: np.zeros(0) for diagnostic in told.diagnostics}
