"""A script in the manner of AMCT's ResNet-50 retrain sample runs as its users run it."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest

from amctc.compat import caffe
from amctc.driver.retrain import trained_factors
from amctc.frontends import load_model
from amctc.records.read_record import read_record
from amctc.runtime.executor import Executor
from tests.compat.running import SAVED, SCRIPTS, run_script, saved, stand_in
from tests.shared_files import ROOT

EXAMPLE = ROOT / "examples/digits"
DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train_lmdb" backend: LMDB batch_size: 1 } transform_param { scale: 0.00390625 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test_lmdb" backend: LMDB batch_size: 1 } transform_param { scale: 0.00390625 } }
"""
LOSSES = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


def model_of_both_phases(folder: Path) -> Path:
    """The embedded network with Data layers, a loss and a score; BatchNorm learns."""
    text = (EXAMPLE / "digits.prototxt").read_text(encoding="utf-8")
    layers = text[text.index("# A full convolution") : text.index('layer { name: "prob"')]
    path = folder / "digits_retrain.prototxt"
    path.write_text(f'name: "digits"\n{DATA}{layers.replace("use_global_stats: true", "")}{LOSSES}', encoding="utf-8")
    return path


def database(path: Path, digits: slice) -> Path:
    with np.load(EXAMPLE / "digits.npz") as file:
        images, labels = np.rint(file["data"][digits] * 255).astype(np.uint8), file["label"][digits]
    with lmdb.open(str(path), map_size=1 << 24) as opened, opened.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            datum = caffe.io.array_to_datum(image, int(label))
            transaction.put(f"{number:08}".encode(), datum.SerializeToString())
    return path


def test_the_retrain_sample_runs_from_end_to_end(tmp_path: Path) -> None:
    done = run_script(
        SCRIPTS / "resnet_retrain.py",
        *("--model_file", model_of_both_phases(tmp_path), "--weights_file", EXAMPLE / "digits.caffemodel"),
        *("--cpu", "--caffe_dir", stand_in(tmp_path / "caffe")),
        *("--train_data", database(tmp_path / "train_lmdb", slice(0, 240))),
        *("--test_data", database(tmp_path / "test_lmdb", slice(240, 360))),
        *("--train_batch", "24", "--train_iter", "10", "--test_batch", "12", "--test_iter", "10"),
        cwd=tmp_path,
    )
    accuracy = float(done.stdout.rpartition("Top 1 accuracy = ")[2])
    assert accuracy > 0.95
    made = saved(tmp_path / "results/retrain_results/retrain")
    assert set(made) == {*SAVED, "atc_model.prototxt"}

    # The test after the training has written what the trained weights and clips amount to.
    trained = tmp_path / "tmp/modified_model.prototxt", tmp_path / "tmp/solver_iter_10.caffemodel"
    wanted = trained_factors(load_model(*trained)).entries
    record = read_record(tmp_path / "tmp/record.txt")
    assert [entry.name for entry in record.layers] == [entry.name for entry in wanted]
    assert [entry.scale_w for entry in record.layers] == [entry.scale_w for entry in wanted]
    assert "[AM640]" not in done.stderr

    deploy = f"{tmp_path}/results/retrain_results/retrain_atc_model.prototxt"
    graph = load_model(deploy, f"{tmp_path}/results/retrain_results/retrain_deploy_weights.caffemodel")
    with np.load(EXAMPLE / "digits.npz") as file:
        images, labels = file["data"][240:] * np.float32(255 / 256), file["label"][240:]
    (scores,) = Executor(graph).run({"data": images}).values()
    assert (scores.reshape(120, -1).argmax(axis=1) == labels).mean() == pytest.approx(accuracy, abs=0.01)
