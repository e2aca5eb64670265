"""Damaged prototxts and caffemodels end in a diagnostic: no traceback, no hang, no gigabytes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import settings

from tests.shared_files import ROOT


@pytest.mark.hypothesis
def test_damaged_models_end_in_a_diagnostic() -> None:
    # `make test` takes a slice that is the same every time; `make fuzz` twice as many cases as other properties.
    count = settings().max_examples * 2
    command = [sys.executable, "-m", "tests.fuzz.mutate_models", "0", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert summary["ends"]["diagnostic"] > summary["cases"] / 4
    assert summary["ends"]["run"] > summary["cases"] / 10
