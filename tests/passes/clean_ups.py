"""What the tests of the float clean-ups share: running passes without a policy, and comparing what nets compute."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile
from amctc.targets.caffe.files import caffemodel, prototxt
from tests.fuzz.random_nets import fitting_feeds
from tests.nets import write_net

Feeds: TypeAlias = Mapping[str, NDArray[np.float32]]
Numbers: TypeAlias = Mapping[str, NDArray[Any]]


def clean(graph: Graph, passes: str) -> Context:
    """Run passes on a graph without a policy; the context tells what was refused."""
    context = Context()
    parse_pipeline(SourceFile("pipeline", passes), builtin_registry()).run(graph, context)
    return context


def reasons(context: Context) -> dict[str, str]:
    """Why each layer was left as it was, by its name."""
    return {refusal.layer: refusal.reason for refusal in context.refusals}


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def copied(graph: Graph) -> Graph:
    return parse_graph(SourceFile("graph", print_graph(graph)))


def random_net(text: str) -> Graph:
    """A net of layers of any kind, with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        model, weights = write_net(Path(folder), text)
        return load_model(model, weights if weights.stat().st_size else None, keep_training=True)


def write_and_read(graph: Graph, folder: Path) -> Graph:
    """The float net as Caffe's files, read again."""
    model, weights = folder / "again.prototxt", folder / "again.caffemodel"
    model.write_text(prototxt(graph), encoding="utf-8")
    weights.write_bytes(caffemodel(graph, fake=True))
    has_weights = any(node.weights for node in graph.nodes)
    return load_model(model, weights if has_weights else None, keep_training=True)


def numbers(graph: Graph, feeds: Feeds) -> Numbers:
    """The outputs by blob name; or, where the figures turn out to be none a layer can take, what is said of it."""
    try:
        return {value.blob: array for value, array in Executor(graph, threads=1).run(feeds).items()}
    except DiagnosticError as told:
        return {diagnostic.message: np.zeros(0) for diagnostic in told.diagnostics}


def measured(graph: Graph) -> list[tuple[Feeds, Numbers]]:
    """What a net computes for a batch of the declared size, and for one of twice the size where it takes that."""
    feeds = fitting_feeds(graph)
    larger = {name: np.concatenate([array, array[::-1]]) if array.ndim else array for name, array in feeds.items()}
    found = [(feeds, numbers(graph, feeds))]
    outputs = {value.blob for value in graph.outputs}
    try:
        again = numbers(graph, larger)
    except Exception:  # such as one of ONNX Runtime's, for weights along the batch axis
        again = {}
    return [*found, (larger, again)] if again.keys() == outputs else found


def check_same(
    graph: Graph, passes: str, tolerance: float = 0.0, wanted: Sequence[tuple[Feeds, Numbers]] | None = None
) -> tuple[Graph, Context]:
    """Clean a copy of a graph up and compare what both compute; gives the copy.

    Each number may differ by `tolerance` times the largest of its blob. `wanted` is what `measured` gave.
    """
    after = copied(graph)
    context = clean(after, passes)
    assert [value.blob for value in after.outputs] == [value.blob for value in graph.outputs]
    for feeds, before in measured(graph) if wanted is None else wanted:
        found = numbers(after, feeds)
        assert before.keys() == found.keys()
        for name, array in before.items():
            assert found[name].shape == array.shape, name
            most = tolerance * float(np.abs(array[np.isfinite(array)]).max(initial=0))
            np.testing.assert_allclose(found[name], array, rtol=0, atol=most, err_msg=name)
    return after, context


def same_weights(graph: Graph) -> dict[str, dict[str, NDArray[Any]]]:
    """A deep copy of all weights, to see later that no pass has written into them."""
    return {node.name: copy.deepcopy(node.weights) for node in graph.nodes}
