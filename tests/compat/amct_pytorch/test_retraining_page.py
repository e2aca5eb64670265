"""The page on training torch modules with quantization does what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import Reader, blocks
from tests.shared_files import ROOT


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "examples/digits/digits.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page_of_retraining")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = ROOT / "docs" / "retraining-modules.md"
    reader = Reader(page, tmp_path, module)
    for block in blocks(page):
        reader.follow(block)
    assert (tmp_path / "results/reader_deploy_model.onnx").exists()
