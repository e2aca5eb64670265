"""What a script registers by itself, and how it is listed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from typer.testing import CliRunner

import amctc
from amctc.cli import app
from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.ir import Graph
from amctc.registration import registration_of
from amctc.registry import builtin_registry, current_registry


@dataclass(frozen=True)
class Tuned(amctc.Pass):
    """Has options.

    And a description
    of two lines.
    """

    name: ClassVar[str] = "tuned"
    after: ClassVar[tuple[str, ...]] = ("no-such-pass",)
    needs_calibration: ClassVar[bool] = True
    bits: int = amctc.option(8, help="bits of a weight", least=4, most=8)
    way: Literal["up", "down"] = "up"

    def run(self, graph: Graph, context: amctc.Context) -> bool:
        return False


def test_every_built_in_could_be_registered() -> None:
    from amctc.registration import _pass_problems, _target_problems  # pyright: ignore[reportPrivateUsage]

    registry = builtin_registry()
    assert [problem for entry in registry.passes.values() for problem in _pass_problems(entry.load())] == []
    assert [problem for entry in registry.targets.values() for problem in _target_problems(entry.load())] == []


def test_a_registered_pass_is_described_completely() -> None:
    amctc.register_pass(Tuned)
    with registration_of(Tuned), amctc.register_pipeline("mine", "tuned,ptq"):
        listed: Any = json.loads(CliRunner().invoke(app, ["passes", "--json"]).stdout)
        table = CliRunner().invoke(app, ["passes"]).stdout
    (row,) = [row for row in listed["passes"] if row["name"] == "tuned"]
    assert {name: row[name] for name in row if name != "options"} == {
        "name": "tuned",
        "summary": "Has options.",
        "description": "And a description\nof two lines.",
        "owner": __name__,
        "pattern": None,
        "after": ["no-such-pass"],
        "before": [],
        "needs_before": [],
        "needs_after": [],
        "preserves_numbers": False,
        "needs_policy": False,
        "needs_calibration": True,
        "needs_record": False,
    }
    assert row["options"][0] == {
        "name": "bits",
        "type": "int",
        "default": "8",
        "help": "bits of a weight",
        "choices": [],
        "least": 4,
        "most": 8,
    }
    assert {"name": "mine", "text": "tuned,ptq", "owner": __name__} in listed["pipelines"]
    assert __name__ in table and "mine" in table


def test_a_table_of_built_ins_has_no_column_of_owners() -> None:
    head, *_ = CliRunner().invoke(app, ["passes"]).stdout.splitlines()
    assert head == "pass\toptions\twhat it does"


def test_an_older_registration_does_not_take_back_a_newer_one() -> None:
    amctc.register_pass(Tuned)
    with registration_of(Tuned):

        @dataclass(frozen=True)
        class Again(Tuned):
            """Another one of the same name."""

        old = registration_of(Tuned)
        amctc.register_pass(Again)
        old.remove()
        assert current_registry().passes["tuned"].load() is Again
        registration_of(Again).remove()
    with pytest.raises(KeyError):
        registration_of(Tuned)


def test_a_clash_shows_the_line_of_the_script() -> None:
    with pytest.raises(DiagnosticError) as caught:
        amctc.register_pipeline("ptq", "tuned")
    found: Diagnostic = caught.value.diagnostics[0]
    assert found.span is not None and found.span.text == 'amctc.register_pipeline("ptq", "tuned")'
    assert found.span.source.name == __file__
