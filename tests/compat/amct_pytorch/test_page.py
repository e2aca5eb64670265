"""The page on AMCT's interface for PyTorch does what it says, and so do scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pages import Reader, blocks
from tests.shared_files import ROOT

SCRIPT = """
import amct_pytorch as amct
import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.AvgPool2d(2)).eval()
data = torch.randn(2, 1, 8, 8)
amct.create_quant_config("config.json", model, (data,))
amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (data,))(data)
amct.save_model("modified.onnx", "record.txt", "./")
print(amct.__name__)
"""


def test_the_page_does_what_it_says(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page_of_amct_pytorch")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = ROOT / "docs" / "from-amct-pytorch.md"
    reader = Reader(page, desk, module)
    for block in blocks(page):
        reader.follow(block)


def test_a_script_for_amct_runs_as_it_is(desk: Path) -> None:
    (desk / "sample.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "amctc.compat", "sample.py"], capture_output=True, text=True, cwd=desk, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "amctc.compat.amct_pytorch"
    assert "[AMCT]:[quantize_model]: the factors of 2 layers are saved" in done.stderr + (
        desk / "amct_log/amct_pytorch.log"
    ).read_text(encoding="utf-8")
    assert {path.name for path in desk.iterdir()} == {
        "amct_log",
        "config.json",
        "deploy_model.onnx",
        "fake_quant_model.onnx",
        "modified.onnx",
        "record.txt",
        "sample.py",
    }
