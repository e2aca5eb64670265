"""Running scripts as their users do, and the files that they are to leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.command import succeed
from tests.shared_files import ROOT

SCRIPTS: Final = Path(__file__).parent / "scripts"

SAVED: Final = (
    "deploy_model.prototxt",
    "deploy_weights.caffemodel",
    "fake_quant_model.prototxt",
    "fake_quant_weights.caffemodel",
    "quant.json",
    "quant_param_record.bin",
    "quant_param_record.txt",
)
"""What the original's `save_model` writes for both models, after `PREFIX_`."""

_QUIET: Final = {"AMCT_LOG_LEVEL", "AMCT_LOG_FILE_LEVEL", "PYTHONPATH"}


def environment(**more: str) -> dict[str, str]:
    """The environment of a script: ours, without what would change what it does or says."""
    return {name: value for name, value in os.environ.items() if name not in _QUIET} | more


def run_script(
    script: Path,
    *arguments: str | Path,
    cwd: Path,
    served: bool = True,
    status: int = 0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a script of tests/compat/scripts or of a test; `served` says whether through `python -m amctc.compat`."""
    begin = [sys.executable, "-m", "amctc.compat"] if served else [sys.executable]
    done = subprocess.run(
        [*begin, str(script), *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def stand_in(folder: Path) -> Path:
    """A stand-in Caffe folder."""
    succeed("compat", "caffe-dir", folder)
    return folder


def compiled(model: Path, weights: Path, data: Path, policy: Path, prefix: Path, *more: str) -> Mapping[str, bytes]:
    """What `amctc compile` writes, by the end of the names."""
    succeed("compile", model, weights, "-p", policy, "-d", data, "-o", prefix, *more)
    return saved(prefix)


def saved(prefix: Path) -> Mapping[str, bytes]:
    """The files that begin with a prefix, by the end of their names."""
    begin = f"{prefix.name}_"
    return {
        path.name.removeprefix(begin): path.read_bytes()
        for path in sorted(prefix.parent.iterdir())
        if path.name.startswith(begin)
    }


def digits(folder: Path, batch: int = 8) -> tuple[Path, Path, Path]:
    """The embedded example with batches of this size in a folder: model, weights, calibration data."""
    example = ROOT / "examples/digits"
    text = (example / "digits.prototxt").read_text(encoding="utf-8")
    assert "shape: { dim: 1 dim: 1" in text
    model = folder / "digits.prototxt"
    model.write_text(text.replace("shape: { dim: 1 dim: 1", f"shape: {{ dim: {batch} dim: 1"), encoding="utf-8")
    for name in ("digits.caffemodel", "calibration.npz", "digits.npz", "policy.cfg"):
        shutil.copy(example / name, folder)
    return model, folder / "digits.caffemodel", folder / "calibration.npz"
