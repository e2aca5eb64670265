"""The steps of `amct_caffe` on the embedded example, each with the files of a working folder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.compat.interface_log import FILE_VARIABLE, SCREEN_VARIABLE
from amctc.diagnostics import DiagnosticError, Level
from tests.compat.running import digits

CONFIG, RECORD = "tmp/config.json", "tmp/record.txt"
MODEL, WEIGHTS = "digits.prototxt", "digits.caffemodel"
MODIFIED = ("tmp/modified.prototxt", "tmp/modified.caffemodel")

older: Any = amct.create_quant_config
"""For calls that its signature does not have."""


@contextmanager
def at_desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """With the embedded example in a folder, the folder as the current one, and a log of its own."""
    digits(folder)
    monkeypatch.chdir(folder)
    for name in (SCREEN_VARIABLE, FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    log.close()
    try:
        yield
    finally:
        log.close()
        amct.set_cpu_mode()
        log.close()


def started(batch_num: int = 2) -> Any:
    amct.create_quant_config(CONFIG, MODEL, WEIGHTS, batch_num)
    return amct.init(CONFIG, MODEL, WEIGHTS, RECORD)


def calibrate(batches: int = 2) -> None:
    net = caffe.Net(*MODIFIED, caffe.TEST)
    with np.load("calibration.npz") as file:
        samples = file["data"]
    for number in range(batches):
        net.forward(data=samples[8 * number : 8 * number + 8])


def ready() -> Any:
    """A graph whose calibration model has run."""
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    amct.activation_quantize_model(graph, *MODIFIED)
    calibrate()
    return graph


def code(refusal: pytest.ExceptionInfo[Any]) -> str:
    assert isinstance(refusal.value, DiagnosticError)
    return next(found.code for found in refusal.value.diagnostics if found.level is Level.ERROR)


def logged(desk: Path) -> str:
    return (desk / "amct_log/amct_caffe.log").read_text(encoding="utf-8")


def any_value(value: object) -> Any:
    return value
