"""Every recorded forward pass of the real Caffe, through `caffe.Net` as a script would run it."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import caffe
from tests.runtime.caffe_cases import CAFFE, CaffeCase, forward_cases
from tests.runtime.caffe_passes import Compared
from tests.shared_files import needs_golden

TOLERANCE = 2e-6
"""Of a blob's largest magnitude."""


@cache
def recorded_cases() -> dict[str, Any]:
    path = CAFFE / "manifest.json"
    found = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.is_file() else []
    return {case["case"]: case for case in found}


def net_of(case: CaffeCase) -> caffe.Net:
    phase = caffe.TEST if case.phase == "TEST" else caffe.TRAIN
    weights = str(case.caffemodel) if case.caffemodel is not None else None
    return caffe.Net(str(case.prototxt), phase, weights=weights)


def write(net: caffe.Net, recorded: dict[str, NDArray[np.float32]]) -> None:
    """What was fed, and the weights as they were before the pass."""
    for name, array in recorded.items():
        kind, _, rest = name.partition("/")
        if kind == "in":
            net.blobs[rest].reshape(*array.shape)
            net.blobs[rest].data[...] = array
        layer, _, index = rest.rpartition("/")
        if kind == "param" and layer in net.params:
            net.params[layer][int(index)].data[...] = array


@needs_golden
@pytest.mark.parametrize("case", forward_cases(), ids=str)
def test_a_net_gives_what_caffes_gives(case: CaffeCase, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    net = net_of(case)
    assert net.outputs == recorded_cases()[case.name].get("outputs", net.outputs)
    for step in range(case.steps):
        recorded = dict(case.recorded(step))
        write(net, recorded)
        net.forward()
        for name, expected in recorded.items():
            if name.startswith("blob/"):
                blob = name.removeprefix("blob/")
                assert Compared(blob, "", net.blobs[blob].data, expected).difference <= TOLERANCE, blob


@needs_golden
@pytest.mark.parametrize("case", ["Legacy__plain_wrong_shape", "Legacy__plain_fewer_blobs"])
def test_weights_that_caffe_refuses_are_refused(case: str) -> None:
    base = Path(CAFFE, "legacy", case.partition("__")[2])
    with pytest.raises(RuntimeError, match="AM314"):
        caffe.Net(f"{base}.prototxt", caffe.TEST, weights=f"{base}.caffemodel")
