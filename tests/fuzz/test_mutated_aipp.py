"""Damaged AIPP files end in operators or in diagnostics: no traceback, no hang."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import settings

from tests.shared_files import ROOT


@pytest.mark.hypothesis
def test_damaged_aipp_files_end_in_operators_or_a_diagnostic() -> None:
    # `make test` takes a slice that is the same every time; `make fuzz` ten times as many cases as other properties.
    count = settings().max_examples * (3 if settings().derandomize else 10)
    command = [sys.executable, "-m", "tests.fuzz.mutate_aipp", "0", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["failures"] == []
    assert summary["ends"]["diagnostic"] > summary["cases"] / 4
    assert summary["ends"]["images"] > 0
    assert summary["ends"]["operators"] > 0
