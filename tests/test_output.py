"""Files are written all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.output import output_paths, write_files


def test_all_files_are_written_and_folders_made(tmp_path: Path) -> None:
    write_files({tmp_path / "a" / "one": b"1", tmp_path / "two": b"2"})
    assert (tmp_path / "a" / "one").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "two"]


def test_a_failure_leaves_every_file_as_it_was_and_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiagnosticError, match=r"AM700.*cannot write this file: is a directory") as caught:
        write_files({tmp_path / "one": b"new", tmp_path / "folder": b"x"})
    assert str(tmp_path / "folder") in str(caught.value)
    assert (tmp_path / "one").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "one"]


def test_a_prefix_joins_with_an_underscore_and_a_folder_takes_bare_names(tmp_path: Path) -> None:
    assert list(output_paths("out/net", {"x.json": b""})) == [Path("out/net_x.json")]
    assert list(output_paths("out/", {"x.json": b""})) == [Path("out/x.json")]
    assert list(output_paths(tmp_path, {"x.json": b""})) == [tmp_path / "x.json"]
