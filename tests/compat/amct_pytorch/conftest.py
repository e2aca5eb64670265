"""What every test of the interface has: a folder of its own, a quiet log, and models that are exported once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from amctc.compat.amct_pytorch import exported
from amctc.compat.amct_pytorch.log import log
from amctc.frontends.torch.export import export_module

_MODELS: dict[object, Any] = {}


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder as the current one; the log goes there, and only errors to the screen."""
    log.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMCT_LOG_LEVEL", "ERROR")
    yield tmp_path
    log.close()


@pytest.fixture
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch's exporter, which takes a second, run once for modules of one class, inputs of one shape and options.

    For tests whose modules of one class are all alike.
    """
    real = export_module

    def export(module: torch.nn.Module, inputs: Any, **options: Any) -> Any:
        shapes = str([tuple(each.shape) for each in inputs])
        key = (type(module), shapes, str(sorted(options.items(), key=str)))
        if key not in _MODELS:
            _MODELS[key] = real(module, inputs, **options)
        return _MODELS[key]

    monkeypatch.setattr(exported, "export_module", export)
