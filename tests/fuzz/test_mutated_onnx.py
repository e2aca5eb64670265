"""Damaged ONNX files end in a diagnostic: no traceback, no hang, no gigabytes."""

from __future__ import annotations

import json
import subprocess
import sys
from random import randrange

import pytest
from hypothesis import settings

from tests.shared_files import ROOT


@pytest.mark.hypothesis
def test_damaged_onnx_models_end_in_a_diagnostic() -> None:
    # `make test` takes a slice that is the same every time; `make fuzz` ten thousand new cases.
    chosen = settings()
    start, count = (0, chosen.max_examples) if chosen.derandomize else (randrange(1 << 40), 2 * chosen.max_examples)
    command = [sys.executable, "-m", "tests.fuzz.mutate_onnx", str(start), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert summary["ends"]["diagnostic"] > summary["cases"] / 4
    assert summary["ends"]["run"] > summary["cases"] / 10
