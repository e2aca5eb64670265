"""The recorded cases of the real Caffe and of a fork: which are run, how, and why the others are not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from amctc.frontends.caffe import NetState
from tests.shared_files import GOLDEN

CAFFE = GOLDEN / "caffe"
FORK = GOLDEN / "caffe_fork"

How = Literal["forward", "reject", "frontend", "not run"]
"""`frontend` cases have no figures of a pass; tests/frontends checks what they record."""

TRAINING = "solvers, learning rates and training belong to training, which is not there yet"
HDF5 = "weights in HDF5 are refused with a word on how to convert them (tests/frontends)"

NOT_RUN: Mapping[str, str] = {
    "Legacy__plain_hdf5": HDF5,
    "Legacy__solver_type_enum": TRAINING,
    "Legacy__solver_type_nesterov": TRAINING,
}
IN_FRONTEND_TESTS = (
    "Legacy__v1_transform_param",
    "Legacy__v0_data",
    "Legacy__v1_every_type",
    "Legacy__mean_binaryproto",
    "Rules__train_val",
)


@dataclass(frozen=True)
class CaffeCase:
    """One recorded net; `steps` forward passes were recorded, each with the weights before it."""

    name: str
    base: Path
    how: How
    why: str
    """The reason of a case that is not run, or Caffe's words of one that it refuses."""
    phase: Literal["TRAIN", "TEST"] = "TEST"
    steps: int = 1
    gradients: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> NetState:
        return NetState(self.phase)

    @property
    def prototxt(self) -> Path:
        return self.base.parent / f"{self.base.name}.prototxt"

    @property
    def caffemodel(self) -> Path | None:
        found = self.base.parent / f"{self.base.name}.caffemodel"
        return found if found.is_file() else None

    def recorded(self, step: int) -> Mapping[str, NDArray[np.float32]]:
        """The arrays of one forward pass, keyed `in/…`, `blob/…`, `layer/…`, `param/…`."""
        prefix = f"step{step}/" if self.steps > 1 else ""
        with np.load(self.base.parent / f"{self.base.name}.npz") as arrays:
            names = [name for name in arrays.files if name.startswith(prefix)]
            return {name.removeprefix(prefix): arrays[name] for name in names}


def forward_cases() -> list[CaffeCase]:
    """Every recorded forward pass of BVLC's Caffe."""
    return [case for case in caffe_cases() if case.how == "forward"]


def reject_cases() -> list[CaffeCase]:
    """Every net that BVLC's Caffe refuses."""
    return [case for case in caffe_cases() if case.how == "reject"]


@cache
def caffe_cases() -> tuple[CaffeCase, ...]:
    """All cases of `golden/caffe`."""
    return tuple(_case(entry) for entry in _entries(CAFFE))


@cache
def fork_cases() -> tuple[CaffeCase, ...]:
    """All cases of `golden/caffe_fork`; every one is a forward pass."""
    return tuple(_forward(entry, FORK / "layers" / entry["case"]) for entry in _entries(FORK))


def _entries(folder: Path) -> list[Any]:
    path = folder / "manifest.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["cases"]) if path.is_file() else []


def _case(entry: Any) -> CaffeCase:
    name: str = entry["case"]
    folder: str = entry["dir"]
    stem = name.partition("__")[2] if folder in ("nets", "legacy") else name
    base = CAFFE / folder / stem
    if name in NOT_RUN or folder in ("train", "lr"):
        return CaffeCase(name, base, "not run", NOT_RUN.get(name, TRAINING))
    if name in IN_FRONTEND_TESTS:
        return CaffeCase(name, base, "frontend", "")
    if "reject" in entry:
        return CaffeCase(name, base, "reject", entry["reject"])
    return _forward(entry, base)


def _forward(entry: Any, base: Path) -> CaffeCase:
    gradients = any(str(file).endswith(".grad.npz") for file in entry["files"])
    return CaffeCase(entry["case"], base, "forward", "", entry["phase"], int(entry.get("steps", 1)), gradients)
