"""`amctc fmt`: which files it writes, what it says, and its exit status. The layout itself has its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import amctc

MESSY = "batch_num:1 # one\nskip_layers:'a'\n"
TIDY = 'batch_num: 1  # one\nskip_layers: "a"\n'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file to be laid out, and one that is."""
    messy, tidy = tmp_path / "messy.cfg", tmp_path / "tidy.cfg"
    messy.write_text(MESSY, encoding="utf-8")
    tidy.write_text(TIDY, encoding="utf-8")
    return messy, tidy


def test_files_are_written_in_place(files: tuple[Path, Path]) -> None:
    messy, tidy = files
    outcome = amctc("fmt", messy, tidy)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == f"{messy}: formatted\n{tidy}: ok\n"
    assert messy.read_text(encoding="utf-8") == tidy.read_text(encoding="utf-8") == TIDY


def test_check_names_what_would_change_and_changes_nothing(files: tuple[Path, Path]) -> None:
    messy, tidy = files
    outcome = amctc("fmt", "--check", messy, tidy)
    assert (outcome.status, outcome.stdout) == (1, f"{messy}: would be formatted\n{tidy}: ok\n")
    assert messy.read_text(encoding="utf-8") == MESSY
    assert amctc("fmt", "--check", tidy).status == 0


def test_stdout_gets_the_texts_and_the_files_stay(files: tuple[Path, Path]) -> None:
    messy, tidy = files
    outcome = amctc("fmt", messy, tidy, "--stdout")
    assert (outcome.status, outcome.stdout) == (0, TIDY * 2)
    assert messy.read_text(encoding="utf-8") == MESSY


def test_check_and_stdout_do_not_go_together(files: tuple[Path, Path]) -> None:
    assert amctc("fmt", "--check", "--stdout", *files).status == 2


def test_mistakes_of_all_files_are_told_and_the_right_ones_are_written(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    messy, _ = files
    broken, layers = tmp_path / "broken.cfg", tmp_path / "layers.json"
    broken.write_text("batch_num: 1\ncommon_config {\n", encoding="utf-8")
    layers.write_text("{}", encoding="utf-8")
    outcome = amctc("fmt", broken, tmp_path / "absent.cfg", layers, messy)
    assert outcome.status == 1
    assert f"error[AM101]: `}}` is missing at the end of the file\n  --> {broken}:2:16\n" in outcome.stderr
    assert f"error[AM100]: there is no file `{tmp_path / 'absent.cfg'}`" in outcome.stderr
    assert "error[AM820]: this is a JSON layer config" in outcome.stderr
    assert broken.read_text(encoding="utf-8") == "batch_num: 1\ncommon_config {\n"
    assert layers.read_text(encoding="utf-8") == "{}"
    assert messy.read_text(encoding="utf-8") == TIDY


def test_a_link_stays_one_and_permissions_are_kept(files: tuple[Path, Path], tmp_path: Path) -> None:
    messy, _ = files
    messy.chmod(0o600)
    link = tmp_path / "link.cfg"
    link.symlink_to(messy)
    assert amctc("fmt", link).status == 0
    assert link.is_symlink()
    assert messy.read_text(encoding="utf-8") == TIDY
    assert messy.stat().st_mode & 0o777 == 0o600


def test_line_ends_of_windows_are_kept(files: tuple[Path, Path]) -> None:
    messy, _ = files
    messy.write_bytes(MESSY.replace("\n", "\r\n").encode())
    assert amctc("fmt", messy).status == 0
    assert messy.read_bytes() == TIDY.replace("\n", "\r\n").encode()
