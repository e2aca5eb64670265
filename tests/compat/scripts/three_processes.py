"""One quantization in several processes: `make` writes the calibration model, `run` runs it, `save` saves.

`all` makes, lets another process run, and saves.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hotwheels.amct_caffe as amct  # type: ignore[import-not-found]
import numpy as np

CONFIG, RECORD = "tmp/config.json", "tmp/record.txt"
MODIFIED = ("tmp/modified_model.prototxt", "tmp/modified_model.caffemodel")
BATCH_NUM, BATCH_SIZE = 2, 8


def quantize_weights(model: str, weights: str) -> Any:
    amct.create_quant_config(CONFIG, model, weights, BATCH_NUM)
    graph = amct.init(CONFIG, model, weights, RECORD)
    amct.weights_quantize_model(graph, *MODIFIED)
    return graph


def make(model: str, weights: str) -> Any:
    graph = quantize_weights(model, weights)
    amct.activation_quantize_model(graph, *MODIFIED)
    return graph


def run(data: str) -> None:
    import caffe  # type: ignore[import-not-found]

    net = caffe.Net(*MODIFIED, caffe.TEST)
    net.blobs["data"].reshape(BATCH_SIZE, *net.blobs["data"].data.shape[1:])
    with np.load(data) as file:
        samples = file["data"]
    for start in range(0, BATCH_NUM * BATCH_SIZE, BATCH_SIZE):
        net.forward(data=samples[start : start + BATCH_SIZE])


def main(action: str, model: str, weights: str, data: str) -> None:
    """Do one part, or all of them with a second process; `weights` is the first half of `make`."""
    if action == "weights":
        quantize_weights(model, weights)
    elif action == "make":
        make(model, weights)
    elif action == "run":
        run(data)
    elif action == "save":
        amct.save_model(amct.resume(CONFIG, model, weights, RECORD), "Both", "results/model")
    else:
        graph = make(model, weights)
        command = [sys.executable, "-m", "amctc.compat", __file__, "run", model, weights, data]
        subprocess.run(command, check=True)
        amct.save_model(graph, "Both", "results/model")


if __name__ == "__main__":
    main(*sys.argv[1:])
