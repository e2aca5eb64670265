"""Damaged solver files and states end in data or in diagnostics: no other exception."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import Collector, DiagnosticError
from amctc.training.solver_file import read_solver_file
from amctc.training.solver_state import read_state, state_bytes
from tests.training.test_solver_state import STATE

WHOLE = """net: "net.prototxt" type: "Adam" base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 5 momentum: 0.9
test_iter: 3 test_interval: 7 test_state { stage: "a" level: 2 } snapshot: 100 weights: "a,b" clip_gradients: 1e3
"""
PIECES = st.sampled_from([*WHOLE.split(), "-1", "1e400", "{", "}", "nan", '"', ":", "net_param {", "\x00", "test_net:"])


@given(st.lists(PIECES, max_size=30).map(" ".join) | st.text(max_size=60))
def test_any_solver_file_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "solver.prototxt"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            file = read_solver_file(path, Collector())
        except DiagnosticError:
            return
        assert file.iter_size > 0 and file.max_iter >= 0


@given(st.lists(st.tuples(st.integers(0, len(state_bytes(STATE)) - 1), st.integers(0, 255)), max_size=6))
def test_any_damage_to_a_state_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(state_bytes(STATE))
    for place, value in changes:
        data[place] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.solverstate"
        path.write_bytes(data)
        try:
            assert read_state(path).iteration >= 0
        except DiagnosticError as refusal:
            assert [diagnostic.code for diagnostic in refusal.diagnostics] == ["AM920"]
