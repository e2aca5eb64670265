"""`amctc train`, as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.driver import train
from tests.e2e.command import amctc, contents, succeed
from tests.training.small_nets import MEMORY, memory_data, solver_in

WORDS = "max_iter: 6 display: 2 snapshot: 3 test_iter: 1 test_interval: 3"


def arrays(folder: Path, factor: float = 1.0) -> Path:
    data = memory_data()["data"]
    np.savez(folder / f"data{factor}.npz", data=data["data"] * np.float32(factor), label=data["label"])
    return folder / f"data{factor}.npz"


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    return solver_in(tmp_path, MEMORY, WORDS)


def test_a_training_writes_snapshots_a_log_and_a_picture(solver: Path, tmp_path: Path) -> None:
    data, log, curve = arrays(tmp_path), tmp_path / "train.log", tmp_path / "loss.svg"
    out = succeed("train", "--solver", solver, "--data", f"data={data}", "--log", log, "--curve", curve)
    assert re.match(r"trained 6 iterations, loss \d", out)
    assert [line.strip() for line in out.splitlines()[1:]] == [
        f"{tmp_path}/run_iter_6.caffemodel",
        f"{tmp_path}/run_iter_6.solverstate",
        str(curve),
    ]
    text = log.read_text()
    assert "] Solving small" in text and "Optimization Done." in text and text.count("Testing net (#0)") == 3
    assert curve.read_text().startswith("<svg") and "training loss" in curve.read_text()


def test_the_log_goes_to_stderr_where_no_file_is_given(solver: Path, tmp_path: Path) -> None:
    outcome = amctc("train", "-s", solver, "-d", f"data={arrays(tmp_path)}")
    assert outcome.status == 0 and "Iteration 4, lr = 0.1" in outcome.stderr and "Iteration" not in outcome.stdout


def test_a_training_goes_on_from_a_snapshot(solver: Path, tmp_path: Path) -> None:
    data = f"data={arrays(tmp_path)}"
    succeed("train", "-s", solver, "-d", data)
    whole = contents(tmp_path)
    for name in ("run_iter_6.caffemodel", "run_iter_6.solverstate"):
        (tmp_path / name).unlink()
    assert "trained 6" in succeed("train", "-s", solver, "-d", data, "--snapshot", tmp_path / "run_iter_3.solverstate")
    assert contents(tmp_path) == whole


def test_weights_to_begin_with_and_data_of_the_tests_are_taken(solver: Path, tmp_path: Path) -> None:
    data = f"data={arrays(tmp_path)}"
    succeed("train", "-s", solver, "-d", data)
    begin = ("train", "-s", solver, "-d", data, "-w", tmp_path / "run_iter_6.caffemodel")
    same, other = amctc(*begin), amctc(*begin, "--test-data", f"data={arrays(tmp_path, 5.0)}")
    first = [re.findall(r"Test net output #1: loss = (\S+)", each.stderr)[0] for each in (same, other)]
    assert first[0] != first[1]


def test_weights_and_a_snapshot_together_are_refused(solver: Path) -> None:
    outcome = amctc("train", "-s", solver, "-w", "a.caffemodel", "--snapshot", "a.solverstate")
    assert outcome.status == 1 and "AM916" in outcome.stderr


def test_data_without_the_name_of_a_layer_are_wrong_usage(solver: Path) -> None:
    outcome = amctc("train", "-s", solver, "--data", "data.npz")
    assert outcome.status == 2 and "LAYER=FILE.npz" in outcome.stderr


def test_a_layer_without_data_is_told_with_the_option_that_gives_them(solver: Path) -> None:
    outcome = amctc("train", "-s", solver)
    assert outcome.status == 1 and "AM666" in outcome.stderr and "--data data=FILE.npz" in outcome.stderr


def test_a_log_that_cannot_be_written_is_told_of(solver: Path, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM700"):
        train(solver, data={"data": arrays(tmp_path)}, log=tmp_path)


def test_without_torch_one_line_says_how_to_get_it(solver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amctc.torch_missing.find_spec", lambda name: None)
    outcome = amctc("train", "-s", solver)
    assert outcome.status == 1 and "AM900" in outcome.stderr and 'pip install "amctc[torch]"' in outcome.stderr
