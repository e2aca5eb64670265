"""What training with quantization recovers: accuracy in floats, when it begins, and when it is done.

Two networks, a digit reader and ResNet-20, each with weights of 4 bits and with ranges of data that are 0.3 of the
measured ones. Half of the shared images are learned from, the others are scored. "At first" is the saved model before a
weight has changed: post-training quantization of the same kind. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from networks import ASSETS
from numpy.typing import NDArray

from amctc import driver
from amctc.compat import amct_caffe as amct
from amctc.compat.amct_caffe.log import log
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.records.read_record import read_record
from amctc.runtime.executor import Executor
from amctc.torch_missing import need_torch

NETS = ASSETS.parent / "golden/caffe/nets"
RESNET = ASSETS / "caffe/cifar10_resnet20"
FOUR_BITS = "retrain_weight_quant_config { arq_retrain { channel_wise: true dst_type: INT4 } }"
PART = 0.3
"""So much of a measured range is left where ranges are bad."""

SOLVER = """
net: "net.prototxt" type: "SGD" base_lr: {rate} momentum: 0.9 weight_decay: 0.0001
lr_policy: "step" gamma: 0.1 stepsize: {stepsize} max_iter: {iterations} random_seed: 1 snapshot_prefix: "{name}"
"""


@dataclass(frozen=True)
class Network:
    """A trained network: its layers between data and loss, its score, its images as it takes them, and how to train."""

    name: str
    layers: str
    score: str
    weights: Path
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    batch: int
    deploy: Path

    @property
    def half(self) -> int:
        return len(self.images) // 2

    def write(self) -> None:
        """`net.prototxt` with data from memory and a loss, and `data.npz` with the images to learn from."""
        shape = "channels: {} height: {} width: {}".format(*self.images.shape[1:])
        heads = [
            f'layer {{ name: "data" type: "MemoryData" top: "data" top: "label" include {{ phase: {phase} }} '
            f"memory_data_param {{ batch_size: {self.batch} {shape} }} }}"
            for phase in ("TRAIN", "TEST")
        ]
        loss = f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{self.score}" bottom: "label" top: "loss" }}'
        text = "\n".join([f'name: "{self.name}"', *heads, self.layers, loss])
        Path("net.prototxt").write_text(text, encoding="utf-8")
        np.savez("data.npz", data=self.images[: self.half], label=self.labels[: self.half].astype(np.float32))

    def accuracy(self, model: Path, weights: Path) -> float:
        """The share of the images that are scored that a model tells right, in percent."""
        executor, right = Executor(load_model(model, weights)), 0
        for start in range(self.half, len(self.images), 100):
            (found,) = executor.run({"data": self.images[start : start + 100]}).values()
            classes = found.reshape(len(found), -1).argmax(axis=1)
            right += int((classes == self.labels[start : start + 100]).sum())
        return 100 * right / (len(self.images) - self.half)


@dataclass(frozen=True)
class Way:
    """A way to lose accuracy, and the learning rate that brings it back."""

    name: str
    configure: Callable[[Network], None]
    rate: float


def mnist_bn() -> Network:
    text = (NETS / "mnist_bn_train_test.prototxt").read_text(encoding="utf-8")
    layers = text[text.index('layer { name: "conv1" ') : text.index('layer { name: "accuracy"')]
    with np.load(NETS / "digits_test.npz") as file:
        images, labels = file["images"].astype(np.float32) / np.float32(256), file["labels"]
    return Network(
        "mnist_bn", layers, "fc", NETS / "mnist_bn.caffemodel", images, labels, 50, NETS / "mnist_bn.prototxt"
    )


def resnet20() -> Network:
    text = (RESNET / "deploy.prototxt").read_text(encoding="utf-8")
    layers = text[text.index('layer {\n  name: "conv1"') : text.rindex("layer {")]
    with np.load(ASSETS / "data/cifar10_test_rgb_1000.npz") as file:
        order = np.random.default_rng(0).permutation(len(file["labels"]))
        pixels, labels = file["images"][order].transpose(0, 3, 1, 2), file["labels"][order].astype(np.int64)
    mean = np.array([125.3, 122.9, 113.8], np.float32)[:, np.newaxis, np.newaxis]
    images = (pixels.astype(np.float32) - mean) / np.float32(256)
    layers = layers.replace("use_global_stats: true", "use_global_stats: false")
    weights = RESNET / "resnet20.caffemodel"
    return Network("cifar10_resnet20", layers, "fc1", weights, images, labels, 50, RESNET / "deploy.prototxt")


def four_bits(network: Network) -> None:
    Path("retrain.cfg").write_text(FOUR_BITS, encoding="utf-8")
    amct.create_quant_retrain_config("config.json", "net.prototxt", str(network.weights), "retrain.cfg")


def bad_clips(network: Network) -> None:
    """Ranges of data that are a part of the measured ones."""
    amct.create_quant_retrain_config("config.json", "net.prototxt", str(network.weights))
    trained(network, "measured", 0.0, 1)
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    for entry in read_record("measured_scale_offset_record.txt").layers:
        given = entry.inputs[0]
        assert given.scale is not None and given.offset is not None
        high, low = (PART * given.scale * (end - given.offset) for end in (127, -128))
        config[entry.name]["retrain_data_config"] |= {"clip_max": high, "clip_min": min(low, -1e-3)}
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")


def trained(network: Network, name: str, rate: float, iterations: int) -> float:
    """The accuracy after so many iterations."""
    text = SOLVER.format(rate=rate, iterations=iterations, stepsize=max(2 * iterations // 3, 1), name=name)
    Path(f"{name}.prototxt").write_text(text, encoding="utf-8")
    driver.train_quantized(
        f"{name}.prototxt", config="config.json", weights=[network.weights], data={"data": "data.npz"}
    )
    return network.accuracy(Path(f"{name}_fake_quant_model.prototxt"), Path(f"{name}_fake_quant_weights.caffemodel"))


def bench(network: Network, way: Way, count: int) -> None:
    network.write()
    way.configure(network)
    exact = network.accuracy(network.deploy, network.weights)
    first, last = trained(network, "first", 0.0, 1), trained(network, "last", way.rate, count)
    print(f"{network.name:18} {way.name:13} {exact:6.2f} {first:8.2f} {last:7.2f} {count:6}", flush=True)


WAYS = (Way("4-bit weights", four_bits, 0.001), Way("bad clips", bad_clips, 0.01))


def main() -> None:
    """Print a line for each network and each way to lose accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="the network whose name has this in it")
    parser.add_argument("--iterations", type=int, default=60)
    arguments = parser.parse_args()
    try:
        need_torch()
    except DiagnosticError as missing:
        print(missing)
        return
    log.logger().setLevel(logging.ERROR)
    print(f"{'network':18} {'what':13} {'float':>6} {'at first':>8} {'trained':>7} {'steps':>6}")
    for make in (mnist_bn, resnet20):
        network = make()
        if arguments.only is not None and arguments.only not in network.name:
            continue
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder, chdir(folder):
                bench(network, way, arguments.iterations)


if __name__ == "__main__":
    main()
