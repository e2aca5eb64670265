"""The `amctc` command as a user runs it: its arguments, its exit status, and what it wrote to both streams."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from amctc.cli import main
from tests.shared_files import ROOT

DIGITS = ROOT / "examples/digits"
MODEL = DIGITS / "digits.prototxt"
WEIGHTS = DIGITS / "digits.caffemodel"
CALIBRATION = DIGITS / "calibration.npz"
SCORED = DIGITS / "digits.npz"
POLICY = DIGITS / "policy.cfg"

ENDINGS = (
    "deploy_model.prototxt",
    "deploy_weights.caffemodel",
    "fake_quant_model.prototxt",
    "fake_quant_weights.caffemodel",
    "quant.json",
    "quant_param_record.txt",
    "quant_param_record.bin",
    "scale_offset_record.txt",
)
"""What target `caffe` writes, after `PREFIX_`."""


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left: its exit status, stdout and stderr."""

    status: int
    stdout: str
    stderr: str


def amctc(*arguments: str | Path) -> Outcome:
    """Run the entry point of the command in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch("sys.argv", ["amctc", *map(str, arguments)]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


def succeed(*arguments: str | Path) -> str:
    """Stdout of a command that must end with exit status 0."""
    outcome = amctc(*arguments)
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout


def compile_digits(prefix: Path, *more: str | Path, policy: Path = POLICY) -> str:
    """Compile the embedded example to a prefix."""
    return succeed("compile", MODEL, WEIGHTS, "-p", policy, "-d", CALIBRATION, "-o", prefix, *more)


def contents(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder, temporary ones included, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
