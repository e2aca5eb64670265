"""The recorded cases of the real Caffe that the op table covers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_table
from tests.shared_files import GOLDEN

CAFFE = GOLDEN / "caffe"


@dataclass(frozen=True)
class CaffeCase:
    """One recorded net; `steps` forward passes were recorded, each with the weights before it."""

    name: str
    base: Path
    steps: int
    reason: str | None

    def __str__(self) -> str:
        return self.name

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
    """Every recorded forward pass in phase TEST whose layers are all in the table."""
    return [case for case in _cases() if case.reason is None and _is_covered(case)]


def reject_cases() -> list[CaffeCase]:
    """Every net that Caffe refuses and whose layers are all in the table."""
    return [case for case in _cases() if case.reason is not None and _is_covered(case)]


@cache
def _manifest() -> Any:
    path = CAFFE / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cases": []}


def _cases() -> Iterator[CaffeCase]:
    for case in _manifest()["cases"]:
        name, folder = case["case"], case.get("dir")
        if folder not in ("layers", "nets") or case.get("phase", "TEST") != "TEST":
            continue
        base = CAFFE / folder / (name.removeprefix("WholeNet__") if folder == "nets" else name)
        yield CaffeCase(name, base, int(case.get("steps", 1)), case.get("reject"))


def _is_covered(case: CaffeCase) -> bool:
    types = re.findall(r'type: "(\w+)"', case.prototxt.read_text(encoding="utf-8"))
    fillers = {"constant", "bilinear", "xavier", "gaussian", "msra"}
    return all(f"caffe.{name}" in op_table() for name in types if name not in fillers)
