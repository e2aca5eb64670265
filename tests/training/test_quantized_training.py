"""Quantization-aware training from end to end: config, model, training, and the quantized files of what was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import amct_caffe as amct
from amctc.diagnostics import Collector
from amctc.frontends import load_model
from amctc.runtime.executor import Executor
from amctc.training.solver import Solver
from amctc.training.solver_file import read_solver_file
from tests.shared_files import GOLDEN, needs_golden

NETS = GOLDEN / "caffe/nets"
WEIGHTS = NETS / "mnist_bn.caffemodel"
LEARNING, BATCH = 1000, 50
"""So many digits are learned from; the others are scored."""

MEMORY = (
    'layer {{ name: "mnist" type: "MemoryData" top: "data" top: "label" include {{ phase: {phase} }}'
    " memory_data_param {{ batch_size: {batch} channels: 1 height: 28 width: 28 }} }}\n"
)
FOUR_BITS = "retrain_weight_quant_config { arq_retrain { channel_wise: true dst_type: INT4 } }"
BAD_CLIPS = "retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 2 clip_min: -2 } } }"
SOLVER = """
net: "model.prototxt" type: "SGD" base_lr: {rate} momentum: 0.9 lr_policy: "fixed" max_iter: {iterations}
test_iter: 10 test_interval: 1000 test_initialization: false random_seed: 1 snapshot_prefix: "{name}"
"""


def digits() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.load(NETS / "digits_test.npz") as file:
        return file["images"].astype(np.float32) / np.float32(256), file["labels"].astype(np.float32)


def write_net() -> None:
    """The trained network with digits from memory."""
    text = (NETS / "mnist_bn_train_test.prototxt").read_text(encoding="utf-8")
    layers = text[text.index('layer { name: "conv1" ') :]
    head = MEMORY.format(phase="TRAIN", batch=BATCH) + MEMORY.format(phase="TEST", batch=100)
    Path("net.prototxt").write_text('name: "mnist_bn"\n' + head + layers, encoding="utf-8")


def write_model(policy: str) -> None:
    """The model of it that is to be trained as a policy says."""
    write_net()
    Path("retrain.cfg").write_text(policy, encoding="utf-8")
    amct.create_quant_retrain_config("config.json", "net.prototxt", str(WEIGHTS), "retrain.cfg")
    made = ("model.prototxt", "model.caffemodel", "record.txt")
    amct.create_quant_retrain_model("net.prototxt", str(WEIGHTS), "config.json", *made)


def trained(name: str, rate: float, iterations: int) -> float:
    """The accuracy of the fake-quant model that is saved after so many iterations."""
    images, labels = digits()
    solver_file = Path(f"{name}.prototxt")
    solver_file.write_text(SOLVER.format(rate=rate, iterations=iterations, name=name), encoding="utf-8")
    learned = {"mnist": {"data": images[:LEARNING], "label": labels[:LEARNING]}}
    solver = Solver(read_solver_file(solver_file, Collector()), weights=["model.caffemodel"], data=learned)
    solver.solve()
    amct.save_quant_retrain_model("model.prototxt", str(solver.written[0]), "Both", name)
    saved = f"{name}_fake_quant_model.prototxt", f"{name}_fake_quant_weights.caffemodel"
    graph = load_model(*saved)
    scored, wanted = images[LEARNING:], labels[LEARNING:]
    (found,) = Executor(graph).run({"data": scored}).values()
    return float((found.reshape(len(scored), -1).argmax(axis=1) == wanted).mean())


@needs_golden
def test_training_in_4_bits_recovers_what_quantization_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(FOUR_BITS)
    at_first = trained("first", rate=0.0, iterations=1)
    at_last = trained("last", rate=0.0005, iterations=30)
    assert 0.9 < at_first < at_last
    assert at_last > 0.955
    assert Path("last_atc_model.prototxt").exists() and Path("last_quant_param_record.txt").exists()


@needs_golden
def test_training_recovers_what_a_range_that_is_too_small_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(BAD_CLIPS)
    at_first = trained("first", rate=0.0, iterations=1)
    at_last = trained("last", rate=0.01, iterations=8)
    assert at_first < 0.85
    assert at_last > at_first + 0.05
