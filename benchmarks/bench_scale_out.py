"""What calibration by workers costs, and what that says for more images and workers.

Measured on one network with workers of one thread each: a batch in a worker, bringing up a worker, and what the process
that puts the shards together does for each. Two workers and one run in turn; beside the time of the clock stand the
processor times of the busiest worker, of their mean, and of this process: those a busy machine changes less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from networks import classifiers

from amctc import driver
from amctc.frontends import load_model
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.quant.activation import settings_from_plain
from amctc.registry import builtin_registry
from amctc.runtime.calibration import Reader, searched_of_a_sample
from amctc.runtime.calibration_data import CalibrationData
from amctc.runtime.calibration_state import CalibrationState
from amctc.runtime.look import Look
from amctc.runtime.sharded_calibration import observe_in_shards
from amctc.runtime.shards import CalibrationJob, Shard, ShardRunner, Way, shard_size
from amctc.scaleout.cluster import local_pool
from amctc.source import SourceFile


@dataclass(frozen=True)
class Run:
    """One calibration by workers: seconds of the clock until they are up and of the calibration, and of processors."""

    up: float
    clock: float
    busiest: float
    mean: float
    own: float


def job_of(name: str, images: int, batch: int, algorithm: str) -> tuple[CalibrationJob, CalibrationData]:
    with tempfile.TemporaryDirectory() as scratch:
        network = next(each for each in classifiers(Path(scratch)) if name in str(each.model))
        graph = load_model(network.model, network.weights)
        dataset = driver.open_dataset(graph, network.data, network.preprocess).select(0, images)
    rules = "common_config { hfmg_quantize { } }" if algorithm == "hfmg" else ""
    policy = Policy.from_text(SourceFile("policy", f"batch_num: {images // batch} {rules}"))
    steps = "fuse-batchnorm,annotate-quant,quantize-weights,observe"
    parse_pipeline(SourceFile("pipeline", steps), builtin_registry()).run(graph, Context(resolve(policy, graph)))
    readers = tuple(
        Reader(node.inputs[0], settings_from_plain(node.attrs["settings"]), node.name, str(node.attrs["observer"]))
        for node in graph.nodes
        if node.op == "quant.Observe"
    )
    count = images // batch
    data = CalibrationData(dataset, batch, count)
    return CalibrationJob(graph, readers, count, batch, searched_of_a_sample(count, batch), dataset, 1), data


def workers_seconds() -> dict[int, float]:
    """Processor seconds of each process below this one."""
    found: dict[int, float] = {}
    for process in psutil.Process().children(recursive=True):
        times = process.cpu_times()
        found[process.pid] = times.user + times.system
    return found


def run(job: CalibrationJob, data: CalibrationData, workers: int) -> Run:
    begin = time.perf_counter()
    with local_pool(job, workers) as pool:
        warm = list(pool.look_at([Shard(Way.FIRST, number, number + 1) for number in range(2 * workers)]))
        assert len(warm) == 2 * workers
        up, before, own = time.perf_counter() - begin, workers_seconds(), time.process_time()
        begin = time.perf_counter()
        observe_in_shards(job, pool, data.stretch, {}, lambda looks: None, lambda done: None)
        clock, own = time.perf_counter() - begin, time.process_time() - own
        after = workers_seconds()
    # Processes that only watch over the workers do next to nothing.
    spent = sorted(after[pid] - before.get(pid, 0) for pid in after)[-workers:]
    return Run(up, clock, spent[-1], statistics.mean(spent), own)


def shard_costs(job: CalibrationJob) -> tuple[float, float, int]:
    """Processor seconds of a batch in a worker and of taking in a shard, and the bytes of a shard's state."""
    runner = ShardRunner(job)
    size = min(4, job.batch_num)
    runner.run(Shard(Way.FIRST, 0, 1))
    begin = time.process_time()
    state = runner.run(Shard(Way.FIRST, 0, size))
    batch = (time.process_time() - begin) / size
    look = Look(job.run(Way.FIRST), size)
    begin = time.process_time()
    look.add(CalibrationState.from_bytes(state))
    return batch, time.process_time() - begin, len(state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="squeezenet", help="a part of its path")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--algorithm", choices=("ifmr", "hfmg"), default="ifmr")
    asked = parser.parse_args()
    job, data = job_of(asked.model, asked.images, asked.batch, asked.algorithm)
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for _ in range(asked.rounds):
        for workers, found in runs.items():
            found.append(run(job, data, workers))
    for what in ("up", "clock", "busiest", "mean", "own"):
        one, two = (statistics.median(getattr(each, what) for each in runs[workers]) for workers in (1, 2))
        print(f"{what:8} one worker {one:7.2f} s   two {two:7.2f} s   ratio {one / two:5.2f}")
    batch, merge, size = shard_costs(job)
    image = batch / asked.batch
    looks = len(job.ways)
    print(f"an image takes {image * 1e3:.1f} ms of one core")
    print(f"the state of a shard has {size / 1e6:.2f} MB and is taken in in {merge * 1e3:.1f} ms")
    print("images     workers  minutes of the workers, and of the process that puts the shards together")
    for images in (10**4, 10**5, 10**6):
        for workers in (1, 10, 100):
            shards = -(-images // (32 * shard_size(images // 32, workers)))
            print(f"{images:9,}  {workers:7}  {looks * image * images / workers / 60:8.1f}  {shards * merge / 60:8.2f}")


if __name__ == "__main__":
    main()
