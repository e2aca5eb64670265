"""The work of a pass grows with the graph and no faster, and no weights are copied that it does not change.

Work is counted in calls of functions, which no busy machine changes; `benchmarks/bench_passes.py` has the times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.registry import builtin_registry
from tests.calls import calls_of
from tests.passes.pass_graphs import CASES, SHAPES, Case, everything, prepared, relu, run

SMALL, LARGE = 150, 600


def calls_a_node(step: Pass, case: Case, shape: str, size: int) -> float:
    graph, context = prepared(case, shape, size)
    nodes = len(graph)
    return calls_of(lambda: step.run(graph, context)) / nodes


def growth(step: Pass, case: Case, shape: str) -> float:
    """By what factor the work for each node is greater in a large graph than in a small one."""
    calls_a_node(step, case, shape, 20)  # what is made once and kept
    return calls_a_node(step, case, shape, LARGE) / calls_a_node(step, case, shape, SMALL)


def test_every_pass_is_looked_at() -> None:
    assert CASES.keys() == builtin_registry().passes.keys()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CASES)
def test_four_times_the_nodes_are_four_times_the_work(name: str, shape: str) -> None:
    step: Pass = builtin_registry().passes[name].load()()
    assert growth(step, CASES[name], shape) < 1.1


@dataclass(frozen=True)
class AsksForEachPair(Pass):
    """Looks at all nodes for each node."""

    name: ClassVar[str] = "asks-for-each-pair"

    def run(self, graph: Graph, context: Context) -> bool:
        return not all(len(other.inputs) < 9 for _ in graph.nodes for other in graph.nodes)


def test_a_pass_that_is_not_linear_would_be_found() -> None:
    assert growth(AsksForEachPair(), Case(relu), "chain") > 3


@pytest.mark.parametrize("name", CASES)
def test_weights_that_a_pass_does_not_change_are_not_copied(name: str) -> None:
    case = CASES[name]
    graph, context = prepared(case, "ladder", 60)
    before = {id(array): (array, array.tobytes()) for node in graph.nodes for array in node.weights.values()}
    changes = {node.name: len(node.provenance.changes) for node in graph.nodes}
    run(name, graph, context)
    # dequantization scales and folded constants are no copies: there was nothing like them before
    made = {"insert-quant", "fold-constants"}
    for node in graph.nodes:
        new = [array for array in node.weights.values() if id(array) not in before]
        if new and not (name in made and node.provenance.inserted):
            assert case.weights, node
            assert len(node.provenance.changes) > changes.get(node.name, 0), node
    for array, content in before.values():
        assert array.tobytes() == content, "an array was written into"


def test_the_float_pipeline_takes_out_all_that_does_nothing() -> None:
    graph, context = prepared(Case(everything), "chain", 200)
    run("float", graph, context)
    types = {node.type for node in graph.nodes}
    assert not types & {"Split", "Dropout", "Reshape", "Permute", "BatchNorm"}
