"""What a call costs beside its calibration: starting, importing, reading, the passes, writing the files.

    python benchmarks/bench_startup.py
    python benchmarks/bench_startup.py --rounds 9 --only squeezenet

Every figure is the median over processes of their own, which take turns. Seconds are those of the processor, of all
threads of the process together: other programs lengthen them less than the clock's. `over bare` is the ratio to
`python -c pass`, `over forward` that to the forward passes of the float model on the same 32 images, in batches of 8,
timed in the same process behind the compilation. `session` is what lies between the pass before `calibrate` and the
first forward: the session is built, and the first batch read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS = 7
BATCH = 8
IMAGES = 32
ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"


@dataclass(frozen=True)
class Network:
    """The files of a network, the name of its input, and how images become samples."""

    files: tuple[Path, ...]
    input: str
    preprocess: str


NETWORKS = {
    "squeezenet": Network(
        (
            ASSETS / "caffe/squeezenet_v1.0_dc/deploy.prototxt",
            ASSETS / "caffe/squeezenet_v1.0_dc/squeezenet_v1.0_dc.caffemodel",
        ),
        "data",
        "resize-short=256,center-crop=227,bgr,mean=104:117:123",
    ),
    "efficientnet_lite0": Network(
        (ASSETS / "onnx/efficientnet_lite0.onnx",), "input", "resize-short=256,center-crop=224,mean=127,std=128"
    ),
}
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "amctc --help": ("-m", "amctc", "--help"),
    "import amctc.driver": ("-c", "import amctc.driver.quantize"),
}


def processor_seconds(command: Sequence[str]) -> float:
    """What a process and its threads take of the processors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_samples(name: str, target: Path) -> None:
    """The first images, prepared, keyed by the name of the input."""
    import numpy as np

    from amctc import driver
    from amctc.frontends import load_model

    network = NETWORKS[name]
    dataset = driver.open_dataset(load_model(*network.files), ASSETS / "data/imagenet", network.preprocess)
    batches = dataset.select(0, IMAGES).batches(BATCH)
    np.save(target, np.concatenate([batch[network.input] for batch in batches]))


class Marks:
    """Seconds of the processor that this process has taken, at each of several places."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float]] = []

    def mark(self, until: str) -> None:
        """All since the last mark went into `until`."""
        self.taken.append((until, time.process_time()))

    def steps(self) -> dict[str, float]:
        """Seconds by step, in order; what has a step's name again is added to it."""
        found: dict[str, float] = {}
        last = 0.0
        for name, at in self.taken:
            found[name] = found.get(name, 0.0) + at - last
            last = at
        return found


class Samples:
    """The samples of a file, as an iterable; the first forward that ONNX Runtime is asked for behind it is marked."""

    def __init__(self, file: Path, marks: Marks) -> None:
        self.file = file
        self.marks = marks

    def __iter__(self) -> Iterator[Any]:
        import numpy as np
        import onnxruntime

        kind = onnxruntime.InferenceSession
        for name in ("run", "run_with_iobinding"):
            setattr(kind, name, self._marking(getattr(kind, name)))
        for sample in np.load(self.file, mmap_mode="r"):
            yield np.asarray(sample)

    def _marking(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*arguments: Any, **named: Any) -> Any:
            if all(name != "session" for name, _ in self.marks.taken):
                self.marks.mark("session")
            return run(*arguments, **named)

        return marked


def compile_once(name: str, samples: Path) -> None:
    """One compilation in this process; prints the seconds of its steps, and those of the forward passes alone."""
    marks = Marks()
    marks.mark("python")
    import amctc
    from amctc.pipeline.instrument import Instrument, PassRun

    amctc.compile  # noqa: B018  # loads what it needs
    marks.mark("import")

    class Watch(Instrument):
        def begin(self, *_: object) -> None:
            marks.mark("read")

        def after(self, run: PassRun, *_: object) -> None:
            marks.mark(run.name)

    network = NETWORKS[name]
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.cfg"
        policy.write_text(f"batch_num: {IMAGES // BATCH}\n", encoding="utf-8")
        amctc.compile(
            *network.files,
            policy=policy,
            data=Samples(samples, marks),
            batch_size=BATCH,
            output=Path(folder) / "net",
            instruments=[Watch()],
        )
        marks.mark("write")
    forward = forward_seconds(network, samples)
    sys.stdout.write(json.dumps({"steps": marks.steps(), "forward": forward}))


def forward_seconds(network: Network, samples: Path) -> float:
    """The forward passes of the float model, after one that does not count."""
    import numpy as np

    from amctc.frontends import load_model
    from amctc.runtime.executor import Executor

    batches = np.split(np.load(samples), IMAGES // BATCH)
    executor = Executor(load_model(*network.files))
    executor.run({network.input: batches[0]})
    begin = time.process_time()
    for batch in batches:
        executor.run({network.input: batch})
    return time.process_time() - begin


def bench_commands(rounds: int) -> float:
    """Prints what starting takes; gives the median of the bare interpreter."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            found[name].append(processor_seconds(command))
    medians = {name: statistics.median(times[1:]) for name, times in found.items()}  # the first writes bytecode
    bare = medians["python -c pass"]
    for name, seconds in medians.items():
        print(f"{name:20} {1000 * seconds:7.0f} ms   {seconds / bare:5.1f} over bare")
    return bare


def bench_network(name: str, rounds: int, bare: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        write_samples(name, samples)
        runs: list[dict[str, Any]] = []
        for _ in range(rounds):
            command = [sys.executable, __file__, "--child", name, str(samples)]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    steps = {step: statistics.median(run["steps"][step] for run in runs) for step in runs[0]["steps"]}
    print(f"\n{name}, {IMAGES} images; medians of {rounds} processes")

    def show(what: str, each: Sequence[float]) -> None:
        ratio = statistics.median(seconds / run["forward"] for seconds, run in zip(each, runs, strict=True))
        seconds = statistics.median(each)
        print(f"{what:28} {1000 * seconds:7.0f} ms   {seconds / bare:5.1f} over bare   {ratio:5.2f} over forward")

    for step in steps:
        show(step, [run["steps"][step] for run in runs])
    order = list(steps)
    early = order[: order.index("session") + 1]
    show("= until the first forward", [sum(run["steps"][step] for step in early) for run in runs])
    show("= all but calibrate", [sum(run["steps"].values()) - run["steps"]["calibrate"] for run in runs])
    show("= all", [sum(run["steps"].values()) for run in runs])
    show("forward passes alone", [run["forward"] for run in runs])


def main() -> None:
    # As users have it: what Python has compiled once is kept, also by the processes that are started here.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes for each figure")
    parser.add_argument("--only", choices=NETWORKS, help="this network alone")
    parser.add_argument("--child", nargs=2, metavar=("NETWORK", "SAMPLES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        compile_once(options.child[0], Path(options.child[1]))
        return
    bare = bench_commands(options.rounds)
    for name in NETWORKS:
        if options.only in (None, name):
            bench_network(name, options.rounds, bare)


if __name__ == "__main__":
    main()
