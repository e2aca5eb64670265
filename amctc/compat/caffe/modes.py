"""What pycaffe keeps for the whole process: the phases, the mode, the seed of random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amctc.compat.caffe.errors import LOG
from amctc.runtime.providers import use_cpu, use_device, use_gpu

TRAIN, TEST = 0, 1
PHASES = {TRAIN: "TRAIN", TEST: "TEST"}

USUAL_SEED = 1701
"""Of fillers that draw at random, where no script sets one: equal runs give equal numbers."""


@dataclass
class _Process:
    """The one thing of its kind, because pycaffe's functions have no other place for it."""

    random: np.random.Generator | None = None
    seed: int = USUAL_SEED
    solvers: int = 1
    rank: int = 0


_PROCESS = _Process()


def set_mode_cpu() -> None:
    """Run networks on the CPU, as they are anyway."""
    use_cpu()


def set_mode_gpu() -> None:
    """Run networks that are made from now on on the GPU, where the installed ONNX Runtime can; else on the CPU."""
    if not use_gpu():
        LOG.info("caffe.set_mode_gpu: ONNX Runtime has no CUDA provider here, so networks run on the CPU")


def set_device(device: int) -> None:
    """Which GPU to use, by its number."""
    use_device(int(device))


def set_random_seed(seed: int) -> None:
    """Begin the random numbers of fillers anew."""
    _PROCESS.seed = int(seed) & 0xFFFFFFFF
    _PROCESS.random = np.random.default_rng(_PROCESS.seed)


def random_numbers() -> np.random.Generator:
    """Where fillers draw from."""
    if _PROCESS.random is None:
        set_random_seed(USUAL_SEED)
    return _PROCESS.random or np.random.default_rng(USUAL_SEED)


def process_seed() -> int:
    """The seed of `set_random_seed`, for trainings whose solver file has none."""
    return _PROCESS.seed


def solver_count() -> int:
    return _PROCESS.solvers


def set_solver_count(count: int) -> None:
    _PROCESS.solvers = int(count)


def solver_rank() -> int:
    return _PROCESS.rank


def set_solver_rank(rank: int) -> None:
    _PROCESS.rank = int(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted; it matters for training only."""
    del multiprocess


def has_nccl() -> bool:
    return False


def init_log(level: int = 0) -> None:
    """Accepted; logging is set up with Python's `logging` here."""
    del level


def log(message: str) -> None:
    """Write a line to the log."""
    LOG.info("%s", message)
