"""A stand-in for pycaffe: the part of `caffe` that scripts use, run by amctc.

Serves as the module `caffe` itself; see `amctc.compat`.
"""

from __future__ import annotations

from amctc.compat.caffe import io, proto
from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.classifier import Classifier, Detector
from amctc.compat.caffe.errors import CaffeError
from amctc.compat.caffe.modes import (
    TEST,
    TRAIN,
    has_nccl,
    init_log,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from amctc.compat.caffe.net import Net
from amctc.compat.caffe.net_layers import Layer, layer_type_list
from amctc.compat.caffe.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__version__ = "1.0.0"
"""The Caffe whose behaviour this is."""

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "CaffeError",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
    "has_nccl",
    "init_log",
    "io",
    "layer_type_list",
    "log",
    "proto",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]
