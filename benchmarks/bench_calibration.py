"""What calibration costs: its time over that of plain inference on the same images, and its peak memory.

Both are timed in one process, in turn, on squeezenet with 32 images. Calibration is the whole of
`observe` and `calibrate`: building the sessions, running the images, feeding the observers and
searching all scales. Peak memory is that of a child process each for 32 and for 200 images.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from networks import CALIBRATION, classifiers
from numpy.typing import NDArray

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile

ROUNDS = 5


def annotated(graph: Graph, batches: list[dict[str, NDArray[np.float32]]]) -> Context:
    """Everything before calibration."""
    policy = Policy.from_text(SourceFile("policy", f"batch_num: {len(batches)}"))
    context = Context(resolve(policy, graph), Calibration(lambda: iter(batches), len(batches)))
    parse_pipeline(SourceFile("pipeline", "annotate-quant,quantize-weights"), builtin_registry()).run(graph, context)
    return context


def bench_time(batch: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        network = classifiers(Path(scratch))[0]
        graph = load_model(network.model, network.weights)
        dataset = driver.open_dataset(graph, network.data, network.preprocess).select(0, CALIBRATION)
        batches = [dict(feeds) for feeds in dataset.batches(batch)]
    raw = Executor(graph)
    raw.run(batches[0])
    ratios, forwards, calibrations = [], [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for feeds in batches:
            raw.run(feeds)
        forward = time.perf_counter() - begin
        again = load_model(network.model, network.weights)
        context = annotated(again, batches)
        steps = parse_pipeline(SourceFile("pipeline", "observe,calibrate"), builtin_registry())
        begin = time.perf_counter()
        steps.run(again, context)
        calibration = time.perf_counter() - begin
        forwards.append(forward)
        calibrations.append(calibration)
        ratios.append(calibration / forward)
    print(
        f"squeezenet, {CALIBRATION} images, batches of {batch}: forward {statistics.median(forwards):.3f} s, "
        f"calibration {statistics.median(calibrations):.3f} s, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds)"
    )


def compile_images(count: int) -> None:
    """One compilation in a process of its own; prints its peak memory in MiB."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        network = classifiers(scratch)[0]
        policy = scratch / "policy.cfg"
        policy.write_text(f"batch_num: {count}\n")
        driver.compile(
            network.model,
            network.weights,
            policy=policy,
            data=network.data,
            preprocess=network.preprocess,
            batch_size=1,
            output=scratch / "net",
        )
    # Not ru_maxrss: that also counts what the parent process held when it started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def bench_memory() -> None:
    peaks = {}
    for count in (32, 200):
        command = [sys.executable, __file__, "--compile", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[count] = float(done.stdout.split()[-1])
    change = 100 * (peaks[200] / peaks[32] - 1)
    print(f"peak memory: {peaks[32]:.0f} MiB with 32 images, {peaks[200]:.0f} MiB with 200 ({change:+.1f} %)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compile", type=int)
    arguments = parser.parse_args()
    if arguments.compile:
        compile_images(arguments.compile)
        return
    for batch in (1, 8):
        bench_time(batch)
    bench_memory()


if __name__ == "__main__":
    main()
