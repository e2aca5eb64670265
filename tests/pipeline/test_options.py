"""The options of a pass: read from text by their type and range, printed and described."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal

import pytest

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.pipeline.options import Option, OptionText, configure, options_of
from amctc.pipeline.pipeline import Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registration import registration_of
from amctc.registry import current_registry
from amctc.source import SourceFile


class Way(Enum):
    UP_AND_DOWN = 1
    ACROSS = 2


class Algorithm(Enum):
    ARQ = "arq"
    SNQ = "snq"


@dataclass(frozen=True)
class Tuned(amctc.Pass):
    """Has an option of each type.

    And a description
    of two lines.
    """

    name: ClassVar[str] = "tuned"
    after: ClassVar[tuple[str, ...]] = ("no-such-pass",)
    needs_calibration: ClassVar[bool] = True
    keep_bias: bool = False
    bits: int = amctc.option(8, help="bits of a weight", least=4, most=8)
    rate: float = amctc.option(1, least=0)
    side: str = "left"
    mode: Literal["fast", "exact"] = "fast"
    width: Literal[8, 16] = 8
    way: Way = Way.ACROSS
    algorithm: Algorithm = Algorithm.ARQ

    def run(self, graph: Graph, context: amctc.Context) -> bool:
        return False


def build(**options: str) -> amctc.Pass:
    return configure(Tuned, {name.replace("_", "-"): OptionText(text, None) for name, text in options.items()})


def refused(code: str, words: str) -> Any:
    return pytest.raises(DiagnosticError, match=rf"{code}.*{words}")


def test_options_of_every_type_are_read_from_text() -> None:
    read = build(keep_bias="true", bits="+4", rate="2.5e-1", side="x:1", mode="exact", width="16", way="up-and-down")
    assert read == Tuned(True, 4, 0.25, "x:1", "exact", 16, Way.UP_AND_DOWN)
    assert build(algorithm="snq") == Tuned(algorithm=Algorithm.SNQ)


def test_a_printed_choice_reads_back() -> None:
    registered = amctc.register_pass(Tuned)
    step = Tuned(True, 5, 1e-7, "x", "exact", 16, Way.UP_AND_DOWN, Algorithm.SNQ)
    with registration_of(registered):
        text = str(Pipeline((step,)))
        assert parse_pipeline(SourceFile("printed", text), current_registry()).passes == (step,)
    assert "way=up-and-down,algorithm=snq" in text


def test_options_are_described_with_help_range_and_choices() -> None:
    described = {option.name: option for option in options_of(Tuned)}
    assert described["bits"] == Option("bits", "int", "8", "bits of a weight", (), 4, 8)
    assert described["keep-bias"] == Option("keep-bias", "bool", "false")
    assert described["way"] == Option("way", "choice", "across", "", ("up-and-down", "across"))
    assert described["width"].choices == ("8", "16")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("bits", "9", "takes a whole number from 4 to 8, not `9`"),
        ("bits", "3", "takes a whole number from 4 to 8, not `3`"),
        ("bits", "8.0", "takes a whole number"),
        ("bits", "1_0", "takes a whole number"),
        ("bits", "٤", "takes a whole number"),
        ("bits", "9" * 5000, "not `9{40}…`"),
        ("rate", "1e999", "takes a number from 0 on, not `1e999`"),
        ("rate", "nan", "takes a number"),
        ("rate", "inf", "takes a number"),
        ("rate", "-1", "takes a number from 0 on"),
        ("rate", "1" * 5000, "takes a number"),
        ("keep_bias", "True", "takes true or false"),
        ("mode", "fats", "takes `fast` or `exact`, not `fats`(.|\n)*did you mean `fast`"),
        ("width", "12", "takes `8` or `16`"),
        ("way", "ACROSS", "takes `up-and-down` or `across`"),
    ],
)
def test_a_wrong_or_hostile_value_is_refused(name: str, text: str, words: str) -> None:
    with refused("AM503", words):
        build(**{name: text})


def test_a_pass_may_refuse_its_options_itself() -> None:
    @dataclass(frozen=True)
    class Even(amctc.Pass):
        """Takes even numbers."""

        name: ClassVar[str] = "even"
        number: int = 2

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("`number` is odd")

        def run(self, graph: Graph, context: amctc.Context) -> bool:
            return False

    span = SourceFile("p", "even{number=3}").span(12, 13)
    with pytest.raises(DiagnosticError) as caught:
        configure(Even, {"number": OptionText("3", span)})
    (found,) = caught.value.diagnostics
    assert (found.code, found.span) == ("AM503", span)
    assert found.message == "the pass `even` refuses its options: `number` is odd"
