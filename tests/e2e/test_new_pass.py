"""`amctc new-pass` writes a pass that works, and a test of it that can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from amctc.registry import builtin_registry
from amctc.scaffold import class_of, module_of
from tests.e2e.command import Outcome, amctc, contents, succeed
from tests.nets import data, layer

FILES = ("drop_twice.py", "test_drop_twice.py", "drop-twice/basic.txt", "drop-twice/negative-slope.txt")


def run_tests(folder: Path) -> Outcome:
    """Plain pytest in a folder, as a stranger runs it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    succeed("new-pass", "drop-twice", "--output", tmp_path)
    return tmp_path


def test_the_files_are_named_and_the_next_steps_are_told(tmp_path: Path) -> None:
    told = succeed("new-pass", "drop-twice", "--output", tmp_path).splitlines()
    assert told[:4] == [f"wrote {tmp_path / name}" for name in FILES]
    assert f"  pytest {tmp_path / 'test_drop_twice.py'}" in told
    assert f"  amctc compile ... --plugin {tmp_path / 'drop_twice.py'} --pipeline drop-twice,ptq" in told
    assert set(contents(tmp_path)) == set(FILES)


def test_its_tests_pass_at_once(skeleton: Path) -> None:
    outcome = run_tests(skeleton)
    assert outcome.status == 0, outcome.stdout
    assert "3 passed" in outcome.stdout


def test_its_tests_fail_when_the_pass_is_wrong(skeleton: Path) -> None:
    module = skeleton / "drop_twice.py"
    text = module.read_text()
    assert "if slope == 0" in text
    module.write_text(text.replace("if slope == 0", "if slope is not None"))
    outcome = run_tests(skeleton)
    assert outcome.status == 1
    # The difference is readable, and that the numbers have changed is told before it.
    assert "the output `b` has changed by" in outcome.stdout


def test_a_golden_file_is_recorded_anew_on_demand(skeleton: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, golden = skeleton / "drop_twice.py", skeleton / "drop-twice/basic.txt"
    module.write_text(module.read_text().replace("left out `", "swallowed `"))
    outcome = run_tests(skeleton)
    assert outcome.status == 1
    assert '+    change "drop-twice" "swallowed `relu2` behind it"' in outcome.stdout
    assert '-    change "drop-twice" "left out `relu2` behind it"' in outcome.stdout
    monkeypatch.setenv("AMCTC_UPDATE", "1")
    assert run_tests(skeleton).status == 0
    assert "swallowed" in golden.read_text()
    monkeypatch.delenv("AMCTC_UPDATE")
    assert run_tests(skeleton).status == 0


def test_it_is_a_plugin_as_it_stands(skeleton: Path) -> None:
    relus = layer("relu1", "ReLU", "data", "a") + layer("relu2", "ReLU", "a", "b") + layer("relu3", "ReLU", "b", "c")
    (skeleton / "net.prototxt").write_text(data("1 2 2 2") + relus)
    arguments = ["explain", "net.prototxt", "--pass", "drop-twice{keep=relu3}", "--plugin", "drop_twice.py"]
    command = [sys.executable, "-m", "amctc", *arguments]
    done = subprocess.run(command, cwd=skeleton, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "its name begins with `relu3`" in done.stdout


@pytest.mark.parametrize(
    ("name", "code", "help"),
    [
        ("DropTwice", "AM540", "did you mean `drop-twice`?"),
        ("drop_twice", "AM540", "did you mean `drop-twice`?"),
        ("drop--twice-", "AM540", "did you mean `drop-twice`?"),
        ("2-relus", "AM540", "did you mean `relus`?"),
        ("", "AM540", "write small letters"),
        ("../evil", "AM540", "did you mean `evil`?"),
        ("x" * 61, "AM540", "at most 60"),
        ("fuse-batchnorm", "AM541", "a name of its own"),
        ("ptq", "AM541", "a name of its own"),
        ("class", "AM543", "`class-layers`"),
        ("json", "AM543", "`json-layers`"),
        ("numpy", "AM543", "`numpy-layers`"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, code: str, help: str, tmp_path: Path) -> None:
    outcome = amctc("new-pass", "--output", tmp_path, "--", name)
    assert outcome.status == 1
    assert f"error[{code}]" in outcome.stderr
    assert help in outcome.stderr
    assert contents(tmp_path) == {}


def test_no_file_is_written_over(skeleton: Path) -> None:
    (skeleton / "test_drop_twice.py").unlink()
    before = contents(skeleton)
    outcome = amctc("new-pass", "drop-twice", "--output", skeleton)
    assert outcome.status == 1
    assert outcome.stderr.count("error[AM542]") == 3
    assert contents(skeleton) == before


def test_modules_and_classes_are_named_after_the_pass() -> None:
    for name, entry in builtin_registry().passes.items():
        module, _, kind = entry.location.partition(":")
        assert module.rpartition(".")[2] == module_of(name)
        assert kind.lower() == class_of(name).lower()
