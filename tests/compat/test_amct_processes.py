"""Several processes share one quantization through files, and none of them leaves half a file when it is killed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Callable[[str, float], float]]:
    """A function that does a part in a process, killed after so many seconds unless 0, and gives the time it took."""
    desk = tmp_path / "desk"
    desk.mkdir()
    command = [sys.executable, "-m", "amctc.compat", str(SCRIPTS / "killed_process.py"), *map(str, digits(desk))]
    server = subprocess.Popen(
        command,
        cwd=desk,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        given, told = server.stdin, server.stdout
        assert given is not None and told is not None

        def do(part: str, seconds: float) -> float:
            given.write(f"{part} {seconds}\n")
            given.flush()
            return float(told.readline())

        yield do
        given.close()
    assert server.returncode == 0


@pytest.mark.parametrize("action", ["make", "run", "save"])
def test_a_killed_process_leaves_files_whole_or_as_they_were(
    tmp_path: Path, parts: Callable[[str, float], float], action: str
) -> None:
    # The record's place stands in the calibration model, so that every attempt must be made in one folder.
    desk, start = tmp_path / "desk", tmp_path / "start"
    for earlier in ("make", "run", "save")[: ("make", "run", "save").index(action)]:
        parts(earlier, 0)
    shutil.copytree(desk, start)
    states = [results(desk)]
    length = 0.0
    for step in ("weights", "make") if action == "make" else (action,):
        length = parts(step, 0)
        states.append(results(desk))
    assert states[-1] != states[0]
    whole = {(name, data) for state in states for name, data in state.items()} | {("tmp/record.txt", b"")}
    dice = random.Random(action)
    for _ in range(6):
        for path in desk.iterdir():  # the folder itself is where the processes are
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(start, desk, dirs_exist_ok=True)
        parts(action, dice.uniform(0.1, 1.0) * length)
        halves = [name for name, data in results(desk).items() if (name, data) not in whole]
        assert not halves
