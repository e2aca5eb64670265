from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.text.files import read_text


def refused(path: Path, max_bytes: int = 100) -> tuple[str, str]:
    with pytest.raises(DiagnosticError) as caught:
        read_text(path, max_bytes)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.file == str(path)
    return diagnostic.code, diagnostic.message


def test_a_byte_order_mark_is_dropped_and_line_ends_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb")
    source = read_text(path)
    assert source.text == "a\r\nb"
    assert source.name == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.txt") == ("AM100", f"there is no file `{tmp_path / 'none.txt'}`")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == ("AM100", f"`{tmp_path}` is a folder, not a file")


def test_a_name_no_system_allows_is_told_without_a_traceback() -> None:
    with pytest.raises(DiagnosticError, match="AM100"):
        read_text("a\0b")


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\nb\xc3(")
    assert refused(path) == ("AM105", f"`{path}` is not UTF-8 text: byte 0xc3 on line 2")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    assert len(read_text(path, 100).text) == 100
    assert refused(path, 99)[0] == "AM102"
