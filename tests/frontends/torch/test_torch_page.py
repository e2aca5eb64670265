"""The page on torch modules does what it says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import Reader, blocks
from tests.shared_files import ROOT


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits.npz", "calibration.npz"):
        shutil.copy(ROOT / "examples" / "digits" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("page_of_torch")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = ROOT / "docs" / "torch.md"
    reader = Reader(page, tmp_path, module)
    for block in blocks(page):
        reader.follow(block)
    monkeypatch.delitem(sys.modules, "nets")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"{name}_deploy_model.onnx" for name in ("digits", "program", "python")} <= written
