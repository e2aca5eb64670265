"""A pipeline runs its passes in order, to a fixpoint where it is told to, and names the pass that breaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph, Node
from amctc.ir.node import Use
from amctc.pipeline.context import Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.order import check_order, with_pass
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Fixpoint, Pipeline


@dataclass(frozen=True)
class Idle(Pass):
    """Does nothing."""

    name: ClassVar[str] = "idle"

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class DropLast(Pass):
    """Takes the last layer away, down to two."""

    name: ClassVar[str] = "drop-last"

    def run(self, graph: Graph, context: Context) -> bool:
        if len(graph) <= 2:
            return False
        last = graph.nodes[-1]
        graph.outputs = [last.inputs[0]]
        graph.remove(last)
        context.counts["dropped"] += 1
        return True


@dataclass(frozen=True)
class Growing(Pass):
    """Adds a layer behind the last, every time."""

    name: ClassVar[str] = "growing"

    def run(self, graph: Graph, context: Context) -> bool:
        graph.add(graph.unused_name("more"), "caffe.ReLU", [graph.nodes[-1].output])
        return True


@dataclass(frozen=True)
class Endless(Pass):
    """Never stops adding layers."""

    name: ClassVar[str] = "endless"

    def run(self, graph: Graph, context: Context) -> bool:
        last = graph.nodes[-1].output
        while True:
            last = graph.add(graph.unused_name(f"more{len(graph)}"), "caffe.ReLU", [last]).output


@dataclass(frozen=True)
class Raising(Pass):
    """Fails at the layer `b`."""

    name: ClassVar[str] = "raising"

    def run(self, graph: Graph, context: Context) -> bool:
        for node in graph.nodes:
            look_at(node)
        return False


def look_at(node: Node) -> None:
    if node.name == "b":
        raise KeyError("scale")


@dataclass(frozen=True)
class Silent(Pass):
    """Forgets to say whether it changed anything."""

    name: ClassVar[str] = "silent"

    def run(self, graph: Graph, context: Context) -> bool:
        return None  # type: ignore[return-value]  # the mistake under test


@dataclass(frozen=True)
class Looping(Pass):
    """Lets `b` read itself."""

    name: ClassVar[str] = "looping"

    def run(self, graph: Graph, context: Context) -> bool:
        graph.set_input(Use(graph.node("b"), 0), graph.node("b").output)
        return True


@dataclass(frozen=True)
class Unwanted(Pass):
    """Is never wanted."""

    name: ClassVar[str] = "unwanted"

    def skip_reason(self, context: Context) -> str | None:
        return "nobody wants it"

    def run(self, graph: Graph, context: Context) -> bool:
        raise AssertionError("it must not run")


@dataclass(frozen=True)
class Early(Pass):
    """Wants to be in front of `idle`."""

    name: ClassVar[str] = "early"
    before: ClassVar[tuple[str, ...]] = ("idle",)
    bits: int = 8

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class Late(Pass):
    """Wants to be behind `idle` and `early`."""

    name: ClassVar[str] = "late"
    after: ClassVar[tuple[str, ...]] = ("idle", "early")

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class Torn(Pass):
    """Wants to be in front of `early` and behind `late`."""

    name: ClassVar[str] = "torn"
    after: ClassVar[tuple[str, ...]] = ("late",)
    before: ClassVar[tuple[str, ...]] = ("early",)

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass
class Watching(Instrument):
    """Writes down what it is told."""

    heard: list[str] = field(default_factory=list[str])

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        self.heard.append(f"begin {pipeline}")

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        self.heard.append(f"before {number} {step.name}")

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        self.heard.append(f"after {run.number} {run.name} {run.changed}")

    def failed(self, step: Pass, number: int, graph: Graph, failure: Exception) -> None:
        self.heard.append(f"failed {number} {step.name}")

    def end(self, graph: Graph, context: Context) -> None:
        self.heard.append("end")


def chain(*names: str) -> Graph:
    graph = Graph()
    value = graph.add(names[0], "caffe.Input").output
    for name in names[1:]:
        value = graph.add(name, "caffe.ReLU", [value]).output
    graph.outputs = [value]
    return graph


def run(graph: Graph, *steps: Pass | Fixpoint) -> tuple[PassRun, ...]:
    return Pipeline(steps).run(graph, Context())


def test_a_group_runs_until_a_round_changes_nothing() -> None:
    graph = chain("a", "b", "c", "d", "e")
    runs = run(graph, Fixpoint((Idle(), DropLast())))
    assert len(graph) == 2
    assert [each.changed for each in runs if each.name == "drop-last"] == [True, True, True, False]
    assert runs[1].nodes == (5, 4)
    assert runs[1].counts == {"dropped": 1}
    assert runs[-1].counts == {}


def test_a_group_that_never_settles_names_the_pass_and_the_layer_it_changed_last() -> None:
    with pytest.raises(
        PassFailure, match=r"`growing` still changes the graph in round 3 .* at layer `more_2`"
    ) as caught:
        run(chain("a", "b"), Fixpoint((Idle(), Growing()), 3))
    assert caught.value.node == "more_2"


def test_a_pass_that_changes_the_graph_without_end_is_stopped() -> None:
    with pytest.raises(PassFailure, match=r"`endless` does not come to an end: it has changed the graph 1\d\d\d times"):
        run(chain("a", "b"), Endless())


def test_a_pass_that_raises_is_named_with_the_layer_it_was_at() -> None:
    with pytest.raises(PassFailure, match="`raising` failed with KeyError: 'scale' at layer `b`"):
        run(chain("a", "b", "c"), Raising())


def test_a_pass_that_forgets_its_answer_is_told_so() -> None:
    with pytest.raises(PassFailure, match="`silent` returned None where `run` says by True or False"):
        run(chain("a", "b"), Silent())


def test_a_broken_graph_is_told_with_its_layer() -> None:
    with pytest.raises(PassFailure, match="`looping` left a broken graph") as caught:
        run(chain("a", "b"), Looping())
    assert caught.value.node == "b"


def test_a_pass_that_the_policy_does_not_want_is_skipped_with_the_reason() -> None:
    (only,) = run(chain("a", "b"), Unwanted())
    assert only.skipped == "nobody wants it"


def test_instruments_hear_of_every_run_in_order() -> None:
    watching = Watching()
    Pipeline((Idle(), Unwanted(), DropLast())).run(chain("a", "b", "c"), Context(), [watching])
    assert watching.heard == [
        "begin idle,unwanted,drop-last",
        "before 1 idle",
        "after 1 idle False",
        "after 2 unwanted False",
        "before 3 drop-last",
        "after 3 drop-last True",
        "end",
    ]
    watching = Watching()
    with pytest.raises(PassFailure):
        Pipeline((Idle(), Raising())).run(chain("a", "b"), Context(), [watching])
    assert watching.heard[-1] == "failed 2 raising"


def test_a_pass_joins_a_pipeline_where_it_may_stand() -> None:
    usual = Pipeline((DropLast(), Idle()))
    assert str(with_pass(usual, Early())) == "drop-last,early,idle"
    assert str(with_pass(with_pass(usual, Early()), Late())) == "drop-last,early,idle,late"
    assert str(with_pass(usual, Growing())) == "drop-last,idle,growing"
    assert str(with_pass(Pipeline((Early(), Idle())), Early(bits=4))) == "early{bits=4},idle"
    assert str(with_pass(Pipeline((Fixpoint((Early(), Idle())),)), Early(bits=4))) == "fixpoint(early{bits=4},idle)"


def test_a_pass_that_fits_nowhere_is_refused_with_the_reason() -> None:
    usual = Pipeline((Early(), Idle(), Late()))
    with pytest.raises(DiagnosticError, match=r"AM504.*`torn` must come before `early`"):
        with_pass(usual, Torn())
    with pytest.raises(DiagnosticError, match="no order is right: "):
        check_order([(step, None) for step in (*usual.passes, Torn())])
