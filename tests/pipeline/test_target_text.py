"""The text that names targets: read, printed back, and refused at the character; options are those of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amctc
from amctc.catalog import TargetRow, describe_targets
from amctc.diagnostics import DiagnosticError, render
from amctc.ir import Graph
from amctc.pipeline.options import Option
from amctc.pipeline.target import Target
from amctc.pipeline.target_text import parse_targets
from amctc.registry import Entry, Registry
from amctc.source import SourceFile


@dataclass(frozen=True)
class Tuned(Target):
    """Write as one likes.

    What one likes is said
    by options.
    """

    name: ClassVar[str] = "tuned"
    opset: int = amctc.option(17, help="the version of the format", least=13, most=21)
    external_data: bool = False
    form: Literal["deploy", "fake-quant"] = "deploy"

    def __post_init__(self) -> None:
        if self.external_data and self.opset == 13:
            raise ValueError("opset 13 has no external data here")

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        return {}


class Plain(Target):
    """Write something."""

    name: ClassVar[str] = "plain"

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        return {}


REGISTRY = Registry(
    passes={}, targets={kind.name: Entry(kind.name, f"{__name__}:{kind.__name__}") for kind in (Tuned, Plain)}
)


def read(text: str) -> tuple[Target, ...]:
    return parse_targets(SourceFile("--target", text), REGISTRY)


def refusal(text: str) -> str:
    with pytest.raises(DiagnosticError) as caught:
        read(text)
    (found,) = caught.value.diagnostics
    return render(found)


def test_targets_are_read_with_their_options() -> None:
    tuned, plain = read("tuned{opset=21,external-data=true}, plain")
    assert tuned == Tuned(21, True)
    assert type(plain) is Plain


@pytest.mark.parametrize(
    "text",
    [
        "tuned{opset=21 external-data=true}",
        "tuned{ opset=21 , external_data=true }",
        "tuned{external_data=true,opset=+21}",
    ],
)
def test_white_space_and_underscores_are_as_good_as_commas_and_hyphens(text: str) -> None:
    assert read(text) == (Tuned(21, True),)


@pytest.mark.parametrize("text", ["tuned", "tuned{}", " tuned { } "])
def test_a_target_without_options_has_the_defaults(text: str) -> None:
    assert read(text) == (Tuned(),)


@given(st.builds(Tuned, st.integers(14, 21), st.booleans(), st.sampled_from(["deploy", "fake-quant"])))
def test_a_printed_target_reads_back_as_the_same_target(target: Tuned) -> None:
    assert read(f"{target},plain")[0] == target


def test_a_target_prints_only_the_options_that_are_not_the_default() -> None:
    assert str(Tuned(opset=21, external_data=True)) == "tuned{opset=21,external-data=true}"
    assert (str(Tuned()), str(Plain())) == ("tuned", "plain")


TOLD = {
    "plain,tund": """\
error[AM701]: there is no target named `tund`
  --> --target:1:7
1 | plain,tund
  |       ^^^^
  help: did you mean `tuned`?
""",
    "onnx": """\
error[AM701]: there is no target named `onnx`
  --> --target:1:1
1 | onnx
  | ^^^^
  help: there are: tuned, plain
""",
    "tuned{opsett=21}": """\
error[AM502]: the target `tuned` has no option `opsett`
  --> --target:1:7
1 | tuned{opsett=21}
  |       ^^^^^^
  help: did you mean `opset`?
""",
    "plain{opset=21}": """\
error[AM502]: the target `plain` has no option `opset`
  --> --target:1:7
1 | plain{opset=21}
  |       ^^^^^
  help: it has none
""",
    "tuned{x=1}": """\
error[AM502]: the target `tuned` has no option `x`
  --> --target:1:7
1 | tuned{x=1}
  |       ^
  help: it has opset, external-data, form
""",
    "tuned{external-data=1,external_data=1}": """\
error[AM503]: the option `external-data` of the target `tuned` takes true or false, not `1`
  --> --target:1:21
1 | tuned{external-data=1,external_data=1}
  |                     ^
""",
    "tuned{external-data=true,external_data=true}": """\
error[AM502]: the option `external-data` is given twice
  --> --target:1:26
1 | tuned{external-data=true,external_data=true}
  |                          ^^^^^^^^^^^^^
""",
    "tuned{opset=21,opset=21}": """\
error[AM502]: the option `opset` is given twice
  --> --target:1:16
1 | tuned{opset=21,opset=21}
  |                ^^^^^
""",
    "tuned{opset=latest}": """\
error[AM503]: the option `opset` of the target `tuned` takes a whole number from 13 to 21, not `latest`
  --> --target:1:13
1 | tuned{opset=latest}
  |             ^^^^^^
""",
    "tuned{opset=22}": """\
error[AM503]: the option `opset` of the target `tuned` takes a whole number from 13 to 21, not `22`
  --> --target:1:13
1 | tuned{opset=22}
  |             ^^
""",
    "tuned{form=fake_quant}": """\
error[AM503]: the option `form` of the target `tuned` takes `deploy` or `fake-quant`, not `fake_quant`
  --> --target:1:12
1 | tuned{form=fake_quant}
  |            ^^^^^^^^^^
  help: did you mean `fake-quant`?
""",
    "tuned{opset=13,external-data=true}": """\
error[AM503]: the target `tuned` refuses its options: opset 13 has no external data here
  --> --target:1:13
1 | tuned{opset=13,external-data=true}
  |             ^^
""",
    "plain tuned": """\
error[AM703]: these are not targets
  --> --target:1:7
1 | plain tuned
  |       ^
  help: write targets separated by commas, options in braces: `target-name{option=value,option=value}`
""",
}


@pytest.mark.parametrize("text", TOLD)
def test_a_mistake_is_told_at_the_character(text: str) -> None:
    assert refusal(text).strip() == TOLD[text].strip()


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        (",plain", 1),
        ("plain,", 6),
        ("tuned{", 6),
        ("tuned{opset}", 12),
        ("tuned{,}", 7),
        ("tuned{opset=}", 13),
        ("tuned{opset=21,}", 16),
        ("tuned{opset=21", 13),
        ("fixpoint(plain)", 9),
        ("Plain", 1),
    ],
)
def test_a_text_that_names_no_targets_is_refused(text: str, column: int) -> None:
    assert refusal(text).startswith(f"error[AM703]: these are not targets\n  --> --target:1:{column}\n")


WORDS = ["tuned", "plain", "opset", "external-data", "=", "21", "true", "{", "}", ",", " ", "_", "-", "(", "é", "\n"]


@given(st.lists(st.sampled_from(WORDS)).map("".join))
def test_any_text_gives_targets_or_a_diagnostic(text: str) -> None:
    try:
        found = read(text)
    except DiagnosticError:
        return
    assert found and all(isinstance(target, Tuned | Plain) for target in found)


def test_targets_are_described_with_their_options() -> None:
    tuned, plain = describe_targets(REGISTRY)
    assert plain == TargetRow("plain", "Write something.", "", "amctc", ())
    assert (tuned.summary, tuned.description) == ("Write as one likes.", "What one likes is said\nby options.")
    assert tuned.options[0] == Option("opset", "int", "17", "the version of the format", (), 13, 21)
    assert tuned.option_text == "opset=17, external-data=false, form=deploy"
