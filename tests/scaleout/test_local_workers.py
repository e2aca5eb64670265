"""`amctc compile --workers N` as a user runs it: processes of its own, which end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.e2e.command import CALIBRATION, MODEL, WEIGHTS, compile_digits, contents
from tests.shared_files import ROOT

POLICY = "batch_num: {} common_config {{ ifmr_quantize {{ }} }}"
LONG = 4_000
"""So many batches that nobody is done before the signal comes."""


def command(folder: Path, data: Path, batch_num: int, *more: str) -> list[str]:
    policy = folder / "policy.cfg"
    policy.write_text(POLICY.format(batch_num))
    given = ["-p", policy, "-d", data, "-o", folder / "out" / "net", "--batch-size", "1", *more]
    return [sys.executable, "-m", "amctc", "compile", *map(str, (MODEL, WEIGHTS, *given))]


def environment(folder: Path) -> dict[str, str]:
    """One whose temporary files are seen."""
    (folder / "tmp").mkdir()
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}


def left(folder: Path) -> list[str]:
    """The temporary files that are left; ONNX Runtime has one of its own."""
    return [path.name for path in (folder / "tmp").iterdir() if path.name != ".ses"]


def test_local_workers_make_the_same_files_and_leave_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        command(tmp_path, CALIBRATION, 40, "--workers", "2"),
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert [line for line in ran.stderr.splitlines() if not line.startswith("amctc: ")] == []
    assert "amctc: calibrate: 40/40" in ran.stderr
    compile_digits(tmp_path / "one" / "net", "--batch-size", "1", policy=tmp_path / "policy.cfg")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert left(tmp_path) == []


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(1).normal(size=(LONG, 1, 8, 8)).astype(np.float32))
    process = subprocess.Popen(
        command(tmp_path, data, LONG, "--workers", "2"),
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("amctc: calibrate: ") and not line.startswith("amctc: calibrate: 0/"):
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    # The stream ends with the last process that has it.
    _, told = process.communicate(timeout=120)
    assert process.returncode not in (0, 70), told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()
    assert left(tmp_path) == []


def test_a_usual_compilation_does_not_load_dask(tmp_path: Path) -> None:
    code = (
        "import sys, amctc.cli; sys.argv[0] = 'amctc'\n"
        "try: amctc.cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'dask', 'distributed'} & sys.modules.keys()"
    )
    arguments = command(tmp_path, CALIBRATION, 2)[3:]
    subprocess.run([sys.executable, "-c", code, *arguments], env=environment(tmp_path), check=True, timeout=120)
