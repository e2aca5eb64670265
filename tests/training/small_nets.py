"""A small net with everything that could make a resumed training differ, its data, and solvers for it."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector
from amctc.dialects.caffe.schema import caffe_schema
from amctc.training.log import TrainingLog
from amctc.training.solver import Solver
from amctc.training.solver_file import read_solver_file

RNG = np.random.default_rng(11)
IMAGES: NDArray[np.uint8] = RNG.integers(0, 256, (7, 2, 6, 6), dtype=np.uint8)
LABELS = (IMAGES.mean((1, 2, 3)) > IMAGES.mean()).astype(int)

LAYERS = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" dropout_param { dropout_ratio: 0.4 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""

MEMORY = (
    'layer { name: "data" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 3 channels: 2 height: 4 width: 4 } }"
)


def database(folder: Path) -> Path:
    """An LMDB of the images."""
    with lmdb.open(str(folder), map_size=1 << 24) as opened, opened.begin(write=True) as transaction:
        for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
            datum = caffe_schema().message("caffe.Datum")(
                channels=2, height=6, width=6, data=image.tobytes(), label=int(label)
            )
            transaction.put(f"{index:04d}".encode(), datum.SerializeToString())
    return folder


def from_database(folder: Path) -> str:
    """Data layers of both phases on the LMDB: at random in training, the middle in tests."""
    entry = (
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: %s } '
        'data_param { source: "%s" backend: LMDB batch_size: %d } '
        "transform_param { crop_size: 4 scale: 0.01 mean_value: 128 %s } }\n"
    )
    return entry % ("TRAIN", folder, 3, "mirror: true") + entry % ("TEST", folder, 2, "")


def memory_data() -> dict[str, dict[str, NDArray[np.float32]]]:
    images = (IMAGES[:, :, 1:5, 1:5].astype(np.float32) - np.float32(128)) / np.float32(100)
    return {"data": {"data": images, "label": LABELS.astype(np.float32)}}


def solver_in(folder: Path, data: str, words: str = "") -> Path:
    """A solver file for the net with these data layers."""
    (folder / "net.prototxt").write_text(f'name: "small"\n{data}\n{LAYERS}')
    path = folder / "solver.prototxt"
    usual = 'net: "net.prototxt" base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 solver_mode: CPU random_seed: 5\n'
    policy = "" if "lr_policy" in words else 'lr_policy: "fixed"\n'
    path.write_text(f'{usual}{policy}snapshot_prefix: "{folder}/run"\n{words}\n')
    return path


def solver_of(path: Path, lines: list[str] | None = None, **options: object) -> Solver:
    log = TrainingLog(lines.append) if lines is not None else None
    return Solver(read_solver_file(path, Collector()), log=log, **options)  # type: ignore[arg-type]


def said(lines: list[str]) -> list[str]:
    """The lines of a log without what stands before their text."""
    return [line.partition("] ")[2] for line in lines]
