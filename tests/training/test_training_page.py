"""The page on training does what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import Reader, blocks
from tests.shared_files import ROOT


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "examples" / "digits").iterdir():
        if path.suffix in (".prototxt", ".caffemodel", ".npz"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page_of_training")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = ROOT / "docs" / "training.md"
    reader = Reader(page, tmp_path, module)
    for block in blocks(page):
        reader.follow(block)
    assert (tmp_path / "snapshots/reader_iter_80.solverstate").exists()
