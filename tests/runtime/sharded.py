"""Calibrations for the tests of shards: a small net with observers of every kind, and workers in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Graph
from amctc.quant.hfmg import HFMG, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observers import MERGING, Observer
from amctc.runtime.calibration import Reader, searched_of_a_sample
from amctc.runtime.calibration_data import CalibrationData
from amctc.runtime.calibration_engine import observe_values
from amctc.runtime.calibration_state import CalibrationState, part_of
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import read_inputs
from amctc.runtime.shards import CalibrationJob, Shard, ShardRunner
from tests.nets import conv, data, layer, make_net

NET = (
    data("2 3 24 24")
    + conv("left", "data", 16, more="pad: 1")
    + layer("left/relu", "ReLU", "left", "left")
    + conv("right", "data", 5, more="pad: 1")
    + layer("both", "Concat", "left right", "both")
    + conv("last", "both", 3)
)


@dataclass(frozen=True)
class Here:
    """Workers that are this process; they answer in an order of their own."""

    job: CalibrationJob
    workers: int = 2
    turned: bool = True
    most: int = 1 << 30
    """So many shards are looked at, and then the process is killed."""

    def look_at(self, shards: Iterable[Shard]) -> Iterator[CalibrationState]:
        runner = ShardRunner(self.job)
        listed = list(shards)
        for number, shard in enumerate(reversed(listed) if self.turned else listed):
            if number == self.most:
                raise KeyboardInterrupt
            yield CalibrationState.from_bytes(runner.run(shard))


def net(folder: Path) -> Graph:
    return make_net(folder, NET)


def images(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Samples whose range grows now and then."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 3, 24, 24)) * rng.uniform(0.2, 3, (count, 1, 1, 1))).astype(np.float32)


def readers(graph: Graph, names: Sequence[str] = (*MERGING, HFMG)) -> tuple[Reader, ...]:
    """Each of the observers on the input and on a Concat, so that they share values."""
    values = [graph.node("data").output, graph.node("both").output, graph.node("last").output]
    return tuple(
        Reader(value, HfmgSettings(num_of_bins=1024) if name == HFMG else IfmrSettings(), f"{name} {number}", name)
        for number, value in enumerate(values)
        for name in names
    )


def calibration(graph: Graph, samples: Any, batch_size: int, batch_num: int) -> CalibrationData:
    inputs = {name: value.shape or () for name, value in read_inputs(graph).items()}
    return CalibrationData(Dataset.open(samples, inputs=inputs), batch_size, batch_num)


def job_of(
    graph: Graph, wanted: tuple[Reader, ...], data: CalibrationData, threads: int | None = None, sent: bool = False
) -> CalibrationJob:
    """`sent`: the batches go with the shards."""
    count = data.batch_num or 0
    searched = searched_of_a_sample(count, data.batch_size)
    dataset = None if sent else data.dataset
    return CalibrationJob(graph, wanted, count, data.batch_size, searched, dataset, threads)


def alone(graph: Graph, wanted: Sequence[Reader], data: CalibrationData) -> list[tuple[bytes, ...]]:
    """What the observers have seen that one run in this process feeds."""
    return parts(observe_values(graph, wanted, data.batches(), data.batch_num or 0))


def parts(observers: Sequence[Observer]) -> list[tuple[bytes, ...]]:
    return [part_of(observer) for observer in observers]
