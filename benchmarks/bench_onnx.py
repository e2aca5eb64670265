"""Quantized ONNX models beside those of the tools that ONNX users have: top-1, error, speed and size.

    python benchmarks/bench_onnx.py
    python benchmarks/bench_onnx.py --peer nncf=~/nncf/bin/python --peer quark=~/quark/bin/python
    python benchmarks/bench_onnx.py --model net.onnx --preprocess resize-short=256,center-crop=227,bgr,mean=104:117:123
    python benchmarks/bench_onnx.py --only amctc --only ort-minmax --policy mine=policy.cfg

Of the images of `../shared/assets/data/imagenet`, in the order of their names, every sixth calibrates until there are
32, all others are scored (`--first`: the first 32, which show animals alone). Every tool gets the same samples and the
same float model, to which onnxruntime's `quant_pre_process` was applied. `SQNR` is that of the outputs against the
float model's over all scored images: 10 * log10(sum of squares / sum of squared differences); `same` says how often
the class is that of the float model. Speed is onnxruntime's on the CPU with batch 1: all models take turns, one run
each a round, and a figure is the median over the rounds of the float model's (`/float`) or onnxruntime's own MinMax
model's time (`/ort`) over this model's: above 1 it is faster. With one thread it is that thread's processor time, which
other programs do not lengthen; with two it is the clock's, and of use only on an idle machine. `size` is the file over
the float file. Tools which are not installed are skipped with a line; `--peer NAME=PYTHON` names the interpreter of an
environment that has one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from networks import ASSETS, CALIBRATION
from numpy.typing import NDArray
from onnx_peers import METHODS, NOT_INSTALLED

import amctc
from amctc.runtime.datasets import Dataset
from amctc.runtime.labels import Labels
from amctc.runtime.preprocess import Preprocess

EFFICIENTNET = ASSETS / "onnx/efficientnet_lite0.onnx"
PREPROCESS = "resize-short=256,center-crop=224,mean=127,std=128"
STRIDE = 6
BATCH = 8
WARM_UP = 3  # rounds of the timing that do not count
WHOLE = f"""batch_num: {CALIBRATION // BATCH}
override_layer_types {{ layer_type: "Add" calibration_config {{ ifmr_quantize {{ }} }} }}
override_layer_types {{ layer_type: "GlobalAveragePool" calibration_config {{ ifmr_quantize {{ }} }} }}
override_layer_types {{ layer_type: "Linear" calibration_config {{ arq_quantize {{ channel_wise: true }} }} }}
"""
CORRECTED = """pass { name: "observe-means" }
pass { name: "correct-bias" }
"""
POLICIES = {"amctc": WHOLE, "amctc-corrected": WHOLE + CORRECTED}
"""Everything in integers, as the peers have it, and biases corrected; see docs/onnx-runtime.md."""
BASELINE = "ort-minmax"

FloatArray = NDArray[np.float32]
Session = Any  # onnxruntime has no types


@dataclass(frozen=True)
class Images:
    """What calibrates, and what is scored with its labels; both [samples, channels, height, width]."""

    calibration: FloatArray
    scored: FloatArray
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    top1: float
    sqnr: float
    same: float


def input_of(model: Path) -> tuple[str, tuple[int, ...]]:
    """The name and the shape of the only input; a symbolic side counts as 1."""
    graph = onnx.load(str(model), load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    (value,) = (value for value in graph.input if value.name not in constants)
    return value.name, tuple(side.dim_value or 1 for side in value.type.tensor_type.shape.dim)


def read_images(model: Path, preprocess: str, first: bool) -> Images:
    name, shape = input_of(model)
    data = ASSETS / "data/imagenet"
    dataset = Dataset.open(str(data), inputs={name: shape}, preprocess=Preprocess.parse(preprocess))
    labels = Labels.open(str(ASSETS / "data/imagenet_labels.csv"), dataset).values
    images = np.concatenate([batch[name] for batch in dataset.batches(BATCH)])
    chosen = np.arange(0, len(images), 1 if first else STRIDE)[:CALIBRATION]
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    return Images(images[chosen], images[rest], labels[rest])


def size_of(model: Path) -> int:
    """Bytes of the file and of those that its tensors lie in."""
    tensors = onnx.load(str(model), load_external_data=False).graph.initializer
    others = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return model.stat().st_size + sum((model.parent / other).stat().st_size for other in others)


def open_session(model: Path, threads: int) -> Session:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def outputs(model: Path, images: FloatArray) -> NDArray[np.float64]:
    """The first output of every image, [samples, classes]."""
    session = open_session(model, threads=2)
    name, shape = input_of(model)
    size = BATCH if session.get_inputs()[0].shape[0] != shape[0] else shape[0]
    made = [session.run(None, {name: images[at : at + size]})[0] for at in range(0, len(images), size)]
    return np.concatenate(made).reshape(len(images), -1).astype(np.float64)


def score(made: NDArray[np.float64], reference: NDArray[np.float64], labels: NDArray[np.int64]) -> Score:
    error = np.square(made - reference).sum()
    classes = made.argmax(axis=1)
    return Score(
        top1=float((classes == labels).mean()),
        sqnr=float(10 * np.log10(np.square(reference).sum() / error)) if error else np.inf,
        same=float((classes == reference.argmax(axis=1)).mean()),
    )


def run_peer(python: str, method: str, model: Path, samples: Path, result: Path) -> str | None:
    """Why there is no result, or None."""
    script = Path(__file__).with_name("onnx_peers.py")
    command = [python, str(script), method, str(model), str(samples), str(result)]
    done = subprocess.run(command, cwd=result.parent, capture_output=True, text=True, check=False)
    if done.returncode == 0 and result.exists():
        return None
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return last if done.returncode == NOT_INSTALLED else f"failed: {last}"


def run_amctc(model: Path, policy: Path, images: FloatArray, prefix: Path) -> Path:
    name, _ = input_of(model)
    amctc.compile(
        model,
        policy=policy,
        data={name: images},
        target="onnx",
        output=prefix,
        batch_size=BATCH,
    )
    return prefix.with_name(f"{prefix.name}_qdq_model.onnx")


def quantize_all(options: argparse.Namespace, images: Images, model: Path, folder: Path) -> dict[str, Path]:
    """The models by row: the float one first, then the tools', then ours."""
    samples = folder / "calibration.npz"
    arrays: dict[str, Any] = {input_of(model)[0]: images.calibration}
    np.savez(samples, **arrays)
    peers = dict(pair.split("=", 1) for pair in options.peer)
    policies: dict[str, Path] = {}
    for row, text in POLICIES.items():
        policies[row] = folder / f"{row}.cfg"
        policies[row].write_text(text)
    policies.update((name, Path(path)) for name, path in (pair.split("=", 1) for pair in options.policy))
    folded = folder / "folded.onnx"
    if (reason := run_peer(sys.executable, "fold", model, samples, folded)) is not None:
        sys.exit(f"quant_pre_process: {reason}")
    models = {"float": model}
    for row in (*(name for name in METHODS if name != "fold"), *policies):
        if row in options.skip or (options.only and row not in options.only):
            continue
        start = time.perf_counter()
        result = folder / f"{row}.onnx"
        if row in policies:
            result, reason = run_amctc(model, policies[row], images.calibration, folder / row), None
        else:
            python = str(Path(peers.get(row, sys.executable)).expanduser())
            reason = run_peer(python, row, folded, samples, result)
        if reason is None:
            models[row] = result
        print(f"{row:18} {reason or f'quantized in {time.perf_counter() - start:.0f} s'}", flush=True)
    return models


def speeds(models: Mapping[str, Path], image: FloatArray, threads: int, rounds: int) -> dict[str, FloatArray]:
    """Seconds of each model in each round; the models take turns."""
    name, _ = input_of(models["float"])
    sessions = {row: open_session(path, threads) for row, path in models.items()}
    spent: dict[str, list[float]] = {row: [] for row in models}
    clock = time.thread_time if threads == 1 else time.perf_counter
    for _ in range(rounds + WARM_UP):
        for row, session in sessions.items():
            start = clock()
            session.run(None, {name: image})
            spent[row].append(clock() - start)
    return {row: np.asarray(times[WARM_UP:], np.float32) for row, times in spent.items()}


def compare(model: Path, options: argparse.Namespace, folder: Path) -> None:
    images = read_images(model, options.preprocess, options.first)
    print(f"\n{model.stem}: {len(images.calibration)} samples calibrate, {len(images.scored)} are scored")
    models = quantize_all(options, images, model, folder)
    times = [speeds(models, images.scored[:1], threads, options.rounds) for threads in (1, 2)]
    reference = outputs(model, images.scored)
    size = size_of(model)
    heads = "".join(f" {f'{kind} {threads}t':>9}" for threads in (1, 2) for kind in ("/float", "/ort"))
    print(f"\n{'':18} {'top-1':>6} {'SQNR dB':>8} {'same':>7}{heads} {'size':>6}")
    for row, path in models.items():
        found = score(outputs(path, images.scored), reference, images.labels)
        ratios = ""
        for spent in times:
            for other in ("float", BASELINE):
                ratio = f"{np.median(spent[other] / spent[row]):.2f}" if other in spent else "-"
                ratios += f" {ratio:>9}"
        print(
            f"{row:18} {100 * found.top1:6.2f} {found.sqnr:8.2f} {100 * found.same:7.2f}{ratios}"
            f" {size_of(path) / size:6.3f}",
            flush=True,
        )
    for threads, spent in zip((1, 2), times, strict=True):
        print(f"float, {threads} thread(s): {1e3 * np.median(spent['float']):.1f} ms an image")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="a float classifier (efficientnet_lite0)")
    parser.add_argument("--preprocess", default=PREPROCESS)
    parser.add_argument("--first", action="store_true", help="calibrate on the first images, not on every sixth")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--policy", action="append", default=[], metavar="NAME=FILE", help="one more row of ours")
    parser.add_argument("--only", action="append", default=[], metavar="ROW")
    parser.add_argument("--skip", action="append", default=[], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=100, help="rounds of the timing")
    parser.add_argument("--keep", type=Path, help="a folder for the quantized models")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if options.keep is None else options.keep.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for model in options.model or [EFFICIENTNET]:
            compare(model, options, folder)


if __name__ == "__main__":
    main()
