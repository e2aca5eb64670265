"""What quantizing costs beside the forward passes that it cannot do without: time and memory, ours and the peers'.

    python benchmarks/bench_calibration.py
    python benchmarks/bench_calibration.py --rounds 3 --only squeezenet --method amctc-ifmr --method ort-minmax
    python benchmarks/bench_calibration.py --peer nncf=~/nncf/bin/python --many 2000

32 images, one at a time, on squeezenet (exported from Caffe) and efficientnet_lite0; the same float file and the same
samples for everybody, see `bench_onnx.py`. `calibration` is ours alone: the passes observe and calibrate, sessions and
search of the scales in them, over the forward pass of our runtime in the same process, in turn; `with its session` is
the same over a forward pass whose session must be built too. `whole call` is from the files to the files, in a fresh
process, with all that is imported for it, over the forward passes of the float model in onnxruntime in that process,
before and after it; `again` is the same call made once more. `processor` is the same ratio of processor time, which
other programs lengthen less. `memory` is the peak of a process that makes the call over that of one that only infers in
onnxruntime, `ours` over that of one that only infers in our runtime. All are medians over the rounds. `top-1`
and `SQNR` are those of the Q/DQ model on the other images. `--many N` adds the peak memory of ours for N images over
that for 32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_onnx import Images, input_of, outputs, read_images, score
from calibrate_once import ALL
from networks import ASSETS
from numpy.typing import NDArray

from amctc import driver
from amctc.frontends import load_model
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile

ROUNDS = 5
OURS = ("amctc-minmax", "amctc-ifmr", "amctc-hfmg")
CAFFE = ASSETS / "caffe/squeezenet_v1.0_dc"
PREPROCESS = {
    "squeezenet": "resize-short=256,center-crop=227,bgr,mean=104:117:123",
    "efficientnet_lite0": "resize-short=256,center-crop=224,mean=127,std=128",
}


@dataclass(frozen=True)
class Network:
    model: Path
    images: Images
    samples: Path


def network(name: str, scratch: Path) -> Network:
    model = ASSETS / "onnx/efficientnet_lite0.onnx"
    if name == "squeezenet":
        caffe = CAFFE / "deploy.prototxt", CAFFE / "squeezenet_v1.0_dc.caffemodel"
        driver.export(*caffe, target="onnx", output=scratch / name)
        model = scratch / f"{name}_model.onnx"
    images = read_images(model, PREPROCESS[name], first=False)
    samples = scratch / f"{name}-samples"
    write_samples(samples, model, images.calibration)
    return Network(model, images, samples)


def write_samples(path: Path, model: Path, samples: NDArray[np.float32]) -> None:
    arrays: dict[str, Any] = {input_of(model)[0]: samples}
    np.savez(path.with_suffix(".npz"), **arrays)
    np.save(path.with_suffix(".npy"), samples)


def child(python: str, method: str, net: Network, result: Path, *options: str) -> dict[str, float] | str:
    """What `calibrate_once.py` says, or why it says nothing."""
    script = Path(__file__).with_name("calibrate_once.py")
    command = [str(Path(python).expanduser()), str(script), method, str(net.model), str(net.samples), str(result)]
    # As users have it: what Python has compiled once is kept.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [*command, *options], cwd=result.parent, env=settings, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    found: dict[str, float] = json.loads(lines[-1])
    return found


def calibrate(net: Network, batches: Sequence[dict[str, NDArray[np.float32]]], method: str) -> Callable[[], object]:
    """The part of a compilation that is timed, everything before it done."""
    graph = load_model(net.model)
    policy = Policy.from_text(SourceFile("policy", f"batch_num: {len(batches)}"))
    context = Context(resolve(policy, graph), Calibration(lambda: iter(batches), len(batches)))
    before = SourceFile("pipeline", "fuse-batchnorm,annotate-quant,quantize-weights")
    parse_pipeline(before, builtin_registry()).run(graph, context)
    text = f"observe{{observer={method.removeprefix('amctc-')}}},calibrate"
    steps = parse_pipeline(SourceFile("pipeline", text), builtin_registry())
    return lambda: steps.run(graph, context)


def bench_calibration(net: Network, rounds: int) -> None:
    """Ours, in this process: observe and calibrate over the forward pass."""
    name, _ = input_of(net.model)
    batches = [{name: sample[np.newaxis]} for sample in net.images.calibration]
    graph = load_model(net.model)
    raw = Executor(graph)
    raw.run(batches[0])

    def forward(executor: Executor) -> None:
        for feeds in batches:
            executor.run(feeds)

    ratios: dict[str, list[tuple[float, float, float]]] = {method: [] for method in OURS}
    for _ in range(rounds):
        for method in OURS:
            before = spent(lambda: forward(raw))
            took = spent(calibrate(net, batches, method))
            after = spent(lambda: forward(raw))
            fresh = spent(lambda: forward(Executor(graph)))
            plain = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
            ratios[method].append((took[0] / plain[0], took[1] / plain[1], took[0] / fresh[0]))
    print(f"{'calibration / forward':24} {'clock':>8} {'processor':>10} {'with its session':>17}")
    for method, found in ratios.items():
        clock, processor, fresh_clock = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"{method:24} {clock:8.2f} {processor:10.2f} {fresh_clock:17.2f}", flush=True)


def spent(work: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def bench_calls(net: Network, methods: Sequence[str], pythons: Mapping[str, str], rounds: int, folder: Path) -> None:
    """Everybody's whole call, in turn, each in a process of its own."""
    times: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    plainly = ("inference", "amctc-inference")
    peaks: dict[str, list[float]] = {method: [] for method in (*methods, *plainly)}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for method in (*methods, *plainly):
            if method in missing:
                continue
            python = pythons.get(method, sys.executable)
            result = folder / f"{method}.onnx"
            memory = child(python, method, net, result, "--memory")
            found = child(python, method, net, result) if method not in plainly else memory
            if isinstance(memory, str) or isinstance(found, str):
                missing[method] = memory if isinstance(memory, str) else str(found)
                continue
            peaks[method].append(memory["peak"])
            if method not in plainly:
                times[method].append(found)
    reference = outputs(net.model, net.images.scored)
    plain, ours = (statistics.median(peaks[each]) for each in plainly)
    columns = ("clock", "processor", "again", "processor", "memory", "ours", "top-1", "SQNR dB")
    print(f"\n{'whole call / forward':24} {' '.join(f'{column:>9}' for column in columns)}")
    for method in methods:
        if method in missing:
            print(f"{method:24} {missing[method]}")
            continue

        def ratio(cost: str, forward: str, runs: Sequence[dict[str, float]] = times[method]) -> float:
            return statistics.median(each[cost] / each[forward] for each in runs)

        peak = statistics.median(peaks[method])
        written = folder / (f"{method}_qdq_model.onnx" if method.startswith("amctc-") else f"{method}.onnx")
        quality = score(outputs(written, net.images.scored), reference, net.images.labels)
        shown = (
            ratio("seconds", "forward"),
            ratio("processor", "forward_processor"),
            ratio("again", "forward"),
            ratio("again_processor", "forward_processor"),
            peak / plain,
            peak / ours,
            100 * quality.top1,
            quality.sqnr,
        )
        print(f"{method:24} {' '.join(f'{number:9.2f}' for number in shown)}", flush=True)
    print(f"plain inference: {plain:.0f} MiB at its peak, in our runtime {ours:.0f} MiB")


def bench_many(net: Network, count: int, rounds: int, folder: Path) -> None:
    few = child_peak(net, rounds, folder)
    samples = np.resize(net.images.calibration, (count, *net.images.calibration.shape[1:]))
    path = folder / "many"
    np.save(path.with_suffix(".npy"), samples)
    many = child_peak(Network(net.model, net.images, path), 1, folder)
    print(f"peak memory of amctc-ifmr for {count} images over that for {len(net.images.calibration)}: {many / few:.3f}")


def child_peak(net: Network, rounds: int, folder: Path) -> float:
    found = [child(sys.executable, "amctc-ifmr", net, folder / "many.onnx", "--memory") for _ in range(rounds)]
    return statistics.median(each["peak"] for each in found if not isinstance(each, str))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=PREPROCESS, action="append")
    parser.add_argument("--method", choices=sorted(ALL), action="append", help="whole calls of these alone")
    parser.add_argument("--peer", metavar="NAME=PYTHON", action="append", default=[])
    parser.add_argument("--many", type=int, metavar="N", default=0, help="peak memory for so many images, too")
    options = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in options.peer)
    methods = options.method or [*OURS, *(name for name in ALL if not name.startswith(("amctc-", "fold", "inference")))]
    for name in options.only or PREPROCESS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            net = network(name, folder)
            print(f"\n{name}: {len(net.images.calibration)} images", flush=True)
            bench_calibration(net, options.rounds)
            bench_calls(net, methods, pythons, options.rounds, folder)
            if options.many:
                bench_many(net, options.many, options.rounds, folder)


if __name__ == "__main__":
    main()
