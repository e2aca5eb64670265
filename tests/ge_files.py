"""Graphs in GE's words: from other graphs, written and read back, in another layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.air.files import air_bytes, read_air
from amctc.air.verify import verify_file
from amctc.dialects.ge.slots import about, note
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends.ge import load_ge
from amctc.ir import Graph, Value
from amctc.runtime.executor import Executor, graph_inputs
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.model import model_message
from tests.air.independent_schema import decodes_equally

Arrays: TypeAlias = Sequence[NDArray[Any]]


def through_a_file(graph: Graph, folder: Path) -> Graph:
    """The graph as GE's, written to a `.air` file and read back."""
    path = folder / "net.air"
    path.write_bytes(air_bytes(model_message(in_ge(graph), AscendForm())))
    return read_again(path)


def read_again(path: Path, *, sqrt_mode: bool = True) -> Graph:
    """The graph in a file, which breaks no rule of GE's readers and must be written again as an equal message."""
    decodes_equally(path.read_bytes())
    assert [str(diagnostic) for diagnostic in verify_file(path)] == []
    found = load_ge(path)
    assert model_message(found, AscendForm(sqrt_mode=sqrt_mode)) == read_air(path)
    return found


def run(graph: Graph, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value] | None = None) -> Arrays:
    """The outputs, or the values wanted, in their order; feeds that the graph does not read are left out."""
    needed = graph_inputs(graph)
    given = {name: array for name, array in feeds.items() if name in needed}
    found = Executor(graph, fetch=fetch, finite=False).run(given)
    return [found[value] for value in (graph.outputs if fetch is None else fetch)]


def assert_equal(found: Arrays, wanted: Arrays) -> None:
    """Bit for bit."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def with_channels_last(graph: Graph) -> Graph:
    """A GE graph whose images, and all that its ops make of them, lie as NHWC; changed in place."""
    for node in graph.nodes:
        if node.type != "Data":
            note(node, format="NHWC")
            continue
        shape = about(node)["shape"]
        assert isinstance(shape, tuple)
        if len(shape) == 4:
            note(node, format="NHWC", shape=(shape[0], *shape[2:], shape[1]))
    annotate_shapes(graph)
    return graph


def channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Images [N, C, H, W] as [N, H, W, C]; anything else as it is."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
