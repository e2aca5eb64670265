"""Several processes share one quantization through files, and none of them leaves half a file when it is killed."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.compat.running import SAVED, SCRIPTS, compiled, digits, environment, run_script, saved
from tests.e2e.command import contents

SCRIPT = SCRIPTS / "three_processes.py"


def results(folder: Path) -> Mapping[str, bytes]:
    """What the processes have left, without temporary files and the log."""
    found = contents(folder)
    return {name: data for name, data in found.items() if name.startswith(("tmp/", "results/")) and "/." not in name}


def test_three_processes_give_what_compile_gives(tmp_path: Path) -> None:
    files = digits(tmp_path)
    for action in ("make", "run", "save"):
        run_script(SCRIPT, action, *files, cwd=tmp_path)
    wanted = compiled(*files, tmp_path / "tmp/config.json", tmp_path / "wanted/model")
    assert {name: wanted[name] for name in SAVED} == saved(tmp_path / "results/model")


def test_a_process_can_wait_for_another_that_runs_the_model(tmp_path: Path) -> None:
    files = digits(tmp_path)
    run_script(SCRIPT, "all", *files, cwd=tmp_path)
    wanted = compiled(*files, tmp_path / "tmp/config.json", tmp_path / "wanted/model")
    assert {name: wanted[name] for name in SAVED} == saved(tmp_path / "results/model")


def test_saving_in_the_third_process_needs_what_the_second_does(tmp_path: Path) -> None:
    files = digits(tmp_path)
    run_script(SCRIPT, "make", *files, cwd=tmp_path)
    done = run_script(SCRIPT, "save", *files, cwd=tmp_path, status=1)
    assert "RuntimeError: Cannot find scale_d of layer 'conv1' in record file" in done.stderr


@pytest.mark.parametrize("action", ["make", "run", "save"])
def test_a_killed_process_leaves_files_whole_or_as_they_were(tmp_path: Path, action: str) -> None:
    # The record's place stands in the calibration model, so that every attempt must be made in one folder.
    desk, start = tmp_path / "desk", tmp_path / "start"
    desk.mkdir()
    files = digits(desk)
    for earlier in ("make", "run", "save")[: ("make", "run", "save").index(action)]:
        run_script(SCRIPT, earlier, *files, cwd=desk)
    shutil.copytree(desk, start)
    states = [results(desk)]
    begin = time.monotonic()
    for step in ("weights", "make") if action == "make" else (action,):
        begin = time.monotonic()
        run_script(SCRIPT, step, *files, cwd=desk)
        states.append(results(desk))
    length = time.monotonic() - begin
    whole = {(name, data) for state in states for name, data in state.items()} | {("tmp/record.txt", b"")}
    dice = random.Random(action)
    for _ in range(4):
        shutil.rmtree(desk)
        shutil.copytree(start, desk)
        command = [sys.executable, "-m", "amctc.compat", str(SCRIPT), action, *map(str, files)]
        process = subprocess.Popen(command, cwd=desk, env=environment(), stderr=subprocess.DEVNULL)
        try:
            process.wait(dice.uniform(0.4, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        halves = [name for name, data in results(desk).items() if (name, data) not in whole]
        assert not halves
