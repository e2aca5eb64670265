"""The runner of golden files finds what is wrong with a pass, and shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import amctc
from amctc.diagnostics import error
from amctc.registry import PASSES
from amctc.testing import check_golden, golden_files, read_golden

BEFORE = """\
// One ReLU.
-- pipeline
{pipeline}
-- before
graph "net" {{
  node "data" caffe.Input () {{
    attrs {{input_param: {{shape: {{dim: [1, 4]}}}}}}
    out "data" float32 [1, 4]
  }}
  node "relu" caffe.ReLU ("data") {{
    out "y" float32 [1, 4]
  }}
  output "relu"
}}
"""


@dataclass(frozen=True)
class Meddle(amctc.Pass):
    """Change the slope of every ReLU, and say anything about it."""

    name: ClassVar[str] = "meddle"
    preserves_numbers: ClassVar[bool] = True

    slope: float = 0.0
    says: bool = True
    wrong: bool = False

    def run(self, graph: amctc.Graph, context: amctc.Context) -> bool:
        for node in graph:
            if node.type == "ReLU" and self.slope >= 0:
                node.attrs["relu_param"] = {"negative_slope": self.slope}
                node.record(self.name, "meddled")
                context.refuse(self.name, node.name, "no `reason`")
        if self.wrong:
            raise error("AM510", "all is wrong")
        return self.says


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    amctc.register_pass(Meddle)
    yield
    PASSES.registration("meddle").remove()


def golden(folder: Path, pipeline: str, more: str = "") -> Path:
    path = folder / "case.txt"
    path.write_text(BEFORE.format(pipeline=pipeline) + more)
    return path


def test_what_is_missing_is_recorded_and_then_holds(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle")
    with pytest.raises(AssertionError):
        check_golden(path)
    check_golden(path, update=True)
    check_golden(path)
    found = read_golden(path)
    assert found.title == "One ReLU."
    assert found.changes
    assert found.refusals == ('meddle "relu": no `reason`',)
    assert golden_files(tmp_path) == [path]


def test_a_difference_is_shown_line_by_line(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle")
    check_golden(path, update=True)
    path.write_text(path.read_text().replace("meddled", "muddled"))
    with pytest.raises(AssertionError) as caught:
        check_golden(path)
    assert '-    change "meddle" "muddled"\n+    change "meddle" "meddled"' in str(caught.value)


def test_the_environment_asks_for_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = golden(tmp_path, "meddle")
    monkeypatch.setenv("AMCTC_UPDATE", "0")
    with pytest.raises(AssertionError):
        check_golden(path)
    monkeypatch.setenv("AMCTC_UPDATE", "1")
    check_golden(path)
    assert "-- after\n" in path.read_text()


def test_a_graph_in_another_layout_is_recorded_in_the_printers(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle")
    tidy = path.read_text()
    path.write_text(tidy.replace("\n    ", " "))
    check_golden(path, update=True)
    assert path.read_text().startswith(tidy)


@pytest.mark.parametrize(
    ("options", "told"), [("{says=false}", "left as it was, but it has"), ("{slope=-1}", "has not")]
)
def test_a_pass_that_says_wrongly_whether_it_changed_the_graph_is_found(
    options: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=told):
        check_golden(golden(tmp_path, f"meddle{options}"), update=True)


def test_a_pass_that_breaks_its_word_about_the_numbers_is_found(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle{slope=0.5}")
    before = path.read_text()
    with pytest.raises(AssertionError, match="the output `y` has changed by"):
        check_golden(path, update=True)
    assert path.read_text() == before


def test_a_graph_that_stays_is_said_in_one_word(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle{slope=-1 says=false}")
    check_golden(path, update=True)
    assert path.read_text().endswith("-- after\nunchanged\n")
    assert not read_golden(path).changes


def test_after_an_error_there_is_no_graph(tmp_path: Path) -> None:
    path = golden(tmp_path, "meddle{wrong=true}")
    check_golden(path, update=True)
    assert path.read_text().endswith(
        '}\n-- refused\nmeddle "relu": no `reason`\n-- diagnostics\nerror[AM510]: all is wrong\n'
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("-- pipeline\nmeddle\n-- before\ngraph {}\n", "begins with a comment"),
        ("plain words\n-- pipeline\nmeddle\n-- before\ngraph {}\n", "begins with a comment"),
        ("// ok\n-- pipeline\nmeddle\n", "the sections"),
        ("// ok\n-- pipeline\nmeddle\n-- before\nx\n-- before\nx\n", "the sections"),
        ("// ok\n-- pipeline\nmeddle\n-- before\nx\n-- afterwards\nx\n", "the sections"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "case.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        check_golden(path)
