"""The pages that need torch, and train or learn on the digits, do what they say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import Reader, blocks
from tests.shared_files import ROOT

WRITTEN = {
    "training.md": "snapshots/reader_iter_80.solverstate",
    "retraining.md": "qat/digits_atc_model.prototxt",
    "rounding.md": "out/learned_deploy_model.prototxt",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "examples" / "digits").iterdir():
        if path.suffix in (".prototxt", ".caffemodel", ".npz", ".cfg"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page_of_training")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = ROOT / "docs" / name
    reader = Reader(page, tmp_path, module)
    for block in blocks(page):
        reader.follow(block)
    assert (tmp_path / WRITTEN[name]).exists()
