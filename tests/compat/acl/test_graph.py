"""`Graph`: reading and writing files, with a status for each."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from amctc.air.files import read_air
from amctc.compat import acl
from amctc.frontends import load_model
from amctc.ir import Graph
from tests.compat.acl.desk import float_graph, write_air
from tests.shared_files import GOLDEN, needs_golden


def test_a_file_comes_back_as_it_was(desk: Path) -> None:
    graph = float_graph()
    assert graph.save_to_file("again.air") == acl.GRAPH_SUCCESS
    assert read_air("again.air") == read_air("net_model.air")
    assert repr(graph) == "Graph('net', 5 nodes)"


@needs_golden
@pytest.mark.parametrize("path", sorted((GOLDEN / "ge").glob("*.air")), ids=lambda path: path.stem)
def test_the_recorded_files_come_back_too(path: Path, desk: Path) -> None:
    graph = acl.Graph()
    assert graph.load_from_file(path) == acl.GRAPH_SUCCESS
    assert graph.save_to_file("again.air") == acl.GRAPH_SUCCESS
    assert read_air("again.air") == read_air(path)


def test_a_new_file_is_for_its_owner_and_the_group(desk: Path) -> None:
    graph = float_graph()
    graph.save_to_file("new.air")
    assert stat.S_IMODE(Path("new.air").stat().st_mode) == 0o640
    Path("old.air").write_bytes(b"")
    Path("old.air").chmod(0o600)
    assert graph.save_to_file("old.air") == acl.GRAPH_SUCCESS
    assert stat.S_IMODE(Path("old.air").stat().st_mode) == 0o600
    assert read_air("old.air") == read_air("new.air")


@pytest.mark.parametrize(("content", "code"), [(None, "AM310"), (b"", "AM350"), (b"\xff\xff", "AM350")])
def test_what_is_no_graph_fails_and_changes_nothing(
    content: bytes | None, code: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("bad.air").write_bytes(content)
    graph = float_graph()
    assert graph.load_from_file("bad.air") == acl.GRAPH_FAILED == 0xFFFFFFFF
    assert len(graph.net) == 5
    assert f"ERROR - [AMCT]:[Graph]: error[{code}]" in capsys.readouterr().err


def test_a_path_must_be_one(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph: Any = float_graph()
    assert graph.load_from_file(3) == graph.load_from_file("") == graph.save_to_file(None) == acl.GRAPH_FAILED
    assert "error[AM882]: a path is of type `int`, or empty" in capsys.readouterr().err


def test_what_cannot_be_written_fails(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert float_graph().save_to_file(desk) == acl.GRAPH_FAILED
    assert "error[AM700]" in capsys.readouterr().err
    assert acl.Graph().save_to_file("empty.air") == acl.GRAPH_FAILED
    assert "error[AM884]: the graph is empty" in capsys.readouterr().err
    assert not Path("empty.air").exists()


def test_a_graph_of_our_own_can_stand_in_it(desk: Path, tmp_path: Path) -> None:
    graph = acl.Graph("mine", load_model(write_air(tmp_path, name="other")))
    assert isinstance(graph.net, Graph)
    assert graph.save_to_file("mine.air") == acl.GRAPH_SUCCESS
    assert load_model("mine.air").node("conv1").type == "Conv2D"
