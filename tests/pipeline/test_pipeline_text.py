"""The text form of a pipeline: read, printed back, and refused at the character."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph, Use
from amctc.passes import PIPELINES
from amctc.pipeline.context import Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.order import check_complete
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Fixpoint, Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import Entry, RegistrationError, Registry, builtin_registry
from amctc.source import SourceFile


@dataclass(frozen=True)
class Tuned(Pass):
    """A pass with an option of each type."""

    name: ClassVar[str] = "tuned"
    after: ClassVar[tuple[str, ...]] = ("first",)
    keep_bias: bool = False
    bits: int = 8
    rate: float = 0.5
    algorithm: str = "arq"

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class First(Pass):
    """A pass without options."""

    name: ClassVar[str] = "first"

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class Breaking(Pass):
    """Leaves a cycle behind."""

    name: ClassVar[str] = "breaking"

    def run(self, graph: Graph, context: Context) -> bool:
        graph.set_input(Use(graph.node("a"), 0), graph.node("b").output)
        return True


def registry() -> Registry:
    table: Mapping[str, Entry] = {
        name: Entry(name, f"{__name__}:{kind}")
        for name, kind in (("tuned", "Tuned"), ("first", "First"), ("breaking", "Breaking"))
    }
    pipelines = {"both": "first,tuned", "circle": "first,round", "round": "circle"}
    return Registry(passes=table, targets={}, pipelines=pipelines)


def parse(text: str) -> Pipeline:
    return parse_pipeline(SourceFile("--pipeline", text), registry())


def test_options_are_read_by_their_type() -> None:
    pipeline = parse("first, tuned{keep-bias=true bits=12 rate=0.25 algorithm=snq}")
    assert pipeline.passes == (First(), Tuned(True, 12, 0.25, "snq"))


@given(
    st.lists(
        st.one_of(
            st.just(First()),
            st.builds(
                Tuned,
                st.booleans(),
                st.integers(0, 99),
                st.floats(allow_nan=False, allow_infinity=False),
                st.sampled_from(["arq", "snq"]),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_printed_pipeline_reads_back_as_the_same_pipeline(steps: list[Pass]) -> None:
    ordered = sorted(steps, key=lambda step: step.name)
    pipeline = Pipeline(tuple(ordered))
    assert parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        ("first,,tuned", "AM500", 7, "not a pipeline"),
        ("first,tunde", "AM501", 7, "no pass or pipeline named `tunde`"),
        ("tuned{bitz=8}", "AM502", 7, "no option `bitz`"),
        ("tuned{bits=eight}", "AM503", 12, "takes a whole number, not `eight`"),
        ("tuned{keep-bias=yes}", "AM503", 17, "takes true or false"),
        ("tuned,first", "AM504", 1, "`tuned` must come after `first`"),
        ("first,both{bits=8}", "AM502", 7, "`both` is a pipeline"),
        ("circle", "AM501", 1, "the pipeline `circle` holds itself"),
        ("fixpoint(first,fixpoint(tuned))", "AM507", 16, "may not stand inside another"),
        ("fixpoint{rounds=3}(first)", "AM502", 10, "`fixpoint` has no option `rounds`"),
        ("fixpoint{limit=0}(first)", "AM503", 16, "from 1 to 1000, not `0`"),
        ("fixpoint()", "AM500", 10, "not a pipeline"),
        ("tuned{bits=8 bits=9}", "AM502", 14, "given twice"),
    ],
)
def test_a_bad_pipeline_is_refused_at_the_character(text: str, code: str, column: int, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        parse(text)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in found.message
    assert found.span is not None
    assert found.span.column == column


def test_a_misspelt_pass_or_option_gets_a_suggestion() -> None:
    with pytest.raises(DiagnosticError, match="did you mean `tuned`"):
        parse("first,tunde")
    with pytest.raises(DiagnosticError, match="did you mean `bits`"):
        parse("tuned{bitz=8}")


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    graph = Graph()
    data = graph.add("data", "caffe.Input")
    a = graph.add("a", "caffe.ReLU", [data.output])
    graph.add("b", "caffe.ReLU", [a.output])
    with pytest.raises(PassFailure, match="`breaking` left a broken graph: the graph has a cycle"):
        parse("breaking").run(graph, Context())


def test_the_built_in_pipelines_keep_the_order_that_their_passes_ask_for() -> None:
    for name, text in PIPELINES.items():
        by_name = parse_pipeline(SourceFile("--pipeline", name), builtin_registry())
        assert by_name == parse_pipeline(SourceFile("built-in", text), builtin_registry())


def test_a_whole_pipeline_has_what_its_passes_need() -> None:
    for text in PIPELINES.values():
        check_complete(parse_pipeline(SourceFile("built-in", text), builtin_registry()))
    short = parse_pipeline(SourceFile("p", "annotate-quant,quantize-weights"), builtin_registry())
    with pytest.raises(DiagnosticError, match=r"AM505.*`annotate-quant` needs `insert-quant` after it"):
        check_complete(short)


def test_every_built_in_pass_is_in_a_built_in_pipeline() -> None:
    pipelines = [parse_pipeline(SourceFile("built-in", text), builtin_registry()) for text in PIPELINES.values()]
    # That one changes what the network computes: it runs only where somebody names it.
    wanted = set(builtin_registry().passes) - {"replace-relu6"}
    assert {step.name for pipeline in pipelines for step in pipeline.passes} == wanted


def test_an_entry_that_does_not_load_names_its_owner() -> None:
    with pytest.raises(RegistrationError, match="`gone` of somebody does not load"):
        Entry("gone", "amctc.passes.gone:Gone", "somebody").load()
    with pytest.raises(RegistrationError, match="another name than its own"):
        Entry("other", f"{__name__}:First", "somebody").load()


def test_a_group_is_read_and_printed_back() -> None:
    pipeline = parse("fixpoint{limit=4}(first,tuned{bits=4}),first")
    assert pipeline.steps == (Fixpoint((First(), Tuned(bits=4)), 4), First())
    assert str(pipeline) == "fixpoint{limit=4}(first,tuned{bits=4}),first"
    assert parse("fixpoint(both)").steps == (Fixpoint((First(), Tuned())),)


def test_a_wrong_order_is_told_with_a_right_one() -> None:
    with pytest.raises(DiagnosticError, match="this order is right: first,tuned"):
        parse("tuned,first")
