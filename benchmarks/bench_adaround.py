"""Weights of 4 bits rounded to the nearest and by learned rounding: top-1, error of the outputs, and seconds.

Of digits_cnn all layers that may have 4 bits, of efficientnet_lite0 those of its last stages (the 1x1 convolutions of
blocks 12 to 15, the head and the classifier); all other layers have 8, rounded to the nearest. The samples that are
scored are none of those that calibrate. SQNR is that of the network's outputs, against float. The seconds are those of
the pass `round-weights`, of the wall clock and of the processor, without the import of torch. `--only NETWORK`,
`--iterations 100,1000` and `--samples N` (of an iteration) choose. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from networks import ASSETS, CALIBRATION
from numpy.typing import NDArray

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument
from amctc.pipeline.pass_ import Pass
from amctc.runtime.labels import Labels

GOLDEN = ASSETS.parent / "golden" / "amct_pytorch" / "models"
BITS = 4
BATCH = 8
WHOLE = 8
"""Bits of the layers that are not looked at."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """A model and its data; `narrow` are the layers with weights of BITS bits."""

    name: str
    model: Path
    input: str
    calibration: Floats
    scored: Floats
    labels: NDArray[np.int64]
    narrow: tuple[str, ...]

    def policy(self, algorithm: str) -> str:
        rules = [f"batch_num: {len(self.calibration) // BATCH}"]
        rules += [
            f'override_layer_configs {{ layer_name: "{name}" calibration_config {{ {algorithm} }} }}'
            for name in self.narrow
        ]
        return "\n".join(rules)

    def outputs(self, model: Path) -> Floats:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        feed = session.get_inputs()[0].name
        parts = [session.run(None, {feed: part})[0] for part in np.split(self.scored, range(8, len(self.scored), 8))]
        return np.concatenate(parts)


def digits() -> Network:
    io = np.load(GOLDEN / "digits_io.npz")
    model = GOLDEN / "digits_cnn.onnx"
    images = io["calib"].reshape(-1, *io["calib"].shape[2:])
    narrow = ("/conv2/Conv", "/conv3/Conv", "/fc1/Gemm", "/fc2/MatMul")
    return Network("digits_cnn", model, _input(model), images, io["test_x"], io["test_y"], narrow)


def efficientnet() -> Network:
    model = ASSETS / "onnx/efficientnet_lite0.onnx"
    data = ASSETS / "data/imagenet"
    dataset = driver.open_dataset(load_model(model), str(data), "resize-short=256,center-crop=224,mean=127,std=128")
    labels = Labels.open(str(ASSETS / "data/imagenet_labels.csv"), dataset).values
    name = _input(model)
    images = np.concatenate([batch[name] for batch in dataset.batches(BATCH)])
    chosen = np.arange(0, len(images), 6)[:CALIBRATION]
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    blocks = [f"_blocks.{number}.{part}_conv" for number in (12, 13, 14, 15) for part in ("_expand", "_project")]
    narrow = (*blocks, "_conv_head", "_fc")
    return Network("efficientnet_lite0", model, name, images[chosen], images[rest], labels[rest], narrow)


NETWORKS: dict[str, Callable[[], Network]] = {"digits_cnn": digits, "efficientnet_lite0": efficientnet}


@dataclass
class PassTime(Instrument):
    """Seconds of the pass `round-weights`: of the wall clock and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        if step.name == "round-weights":
            self.wall, self.cpu = -time.perf_counter(), -time.process_time()

    def after(self, run: Any, graph: Graph, context: Context) -> None:
        if run.step.name == "round-weights":
            self.wall += time.perf_counter()
            self.cpu += time.process_time()


def measure(network: Network, algorithm: str, options: str, folder: Path) -> tuple[Floats, PassTime]:
    """The outputs of the fake-quant model for a policy that says `algorithm` of the narrow layers."""
    data, policy = folder / "data.npz", folder / "policy.cfg"
    np.savez(data, **{network.input: network.calibration})  # type: ignore[arg-type]  # its stub takes allow_pickle for an array
    named = f'\npass {{ name: "round-weights" {options} }}' if options and algorithm.startswith("ada") else ""
    policy.write_text(network.policy(algorithm) + named)
    spent = PassTime()
    driver.compile(
        network.model,
        policy=policy,
        data=str(data),
        target="onnx",
        output=folder / "net",
        batch_size=BATCH,
        instruments=(spent,),
    )
    return network.outputs(folder / "net_fake_quant_model.onnx"), spent


def report(network: Network, iterations: Sequence[int], samples: int) -> None:
    reference = network.outputs(network.model)
    count = len(network.labels)
    rows = [("float", reference, PassTime())]
    algorithms = [(f"nearest, {WHOLE} bits", f"arq_quantize {{ quant_bits: {WHOLE} }}")]
    algorithms += [(f"nearest, {BITS} bits", f"arq_quantize {{ quant_bits: {BITS} }}")]
    algorithms += [
        (f"AdaRound, {BITS} bits, {number}", f"ada_quantize {{ num_iteration: {number} quant_bits: {BITS} }}")
        for number in iterations
    ]
    print(
        f"\n{network.name}: {len(network.narrow)} layers, {len(network.calibration)} samples calibrate, {count} scored"
    )
    print("| weights | top-1 | SQNR dB | round-weights s | CPU s |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for title, algorithm in algorithms:
            options = f'option {{ key: "samples" value: "{samples}" }}'
            rows.append((title, *measure(network, algorithm, options, Path(scratch))))
            _print(rows[-1], reference, network.labels)
    _print(rows[0], reference, network.labels)


def _print(row: tuple[str, Floats, PassTime], reference: Floats, labels: NDArray[np.int64]) -> None:
    title, found, spent = row
    right = int(np.count_nonzero(found.argmax(axis=1) == labels))
    noise = float(np.square(found - reference).sum())
    sqnr = f"{10 * np.log10(float(np.square(reference).sum()) / noise):.2f}" if noise else "-"
    seconds = f"{spent.wall:.1f} | {spent.cpu:.1f}" if spent.wall else "- | -"
    print(f"| {title} | {right / len(labels):.4f} ({right}) | {sqnr} | {seconds} |", flush=True)


def _input(model: Path) -> str:
    return str(onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0].name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--iterations", default="300,1000", help="what `num_iteration` says, several with commas")
    parser.add_argument("--samples", type=int, default=32, help="samples in an iteration")
    told = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python {sys.version.split()[0]}")
    for name, make in NETWORKS.items():
        if told.only in (None, name):
            report(make(), [int(number) for number in told.iterations.split(",")], told.samples)


if __name__ == "__main__":
    main()
