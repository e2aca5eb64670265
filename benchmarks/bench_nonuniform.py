"""Top-1 of real networks with weights of 16 levels against float, for each init_algo, with and without update_bn.

`ends` says how the first and the last layer with weights are quantized: to 16 levels as all others, or uniformly to 8
bits, as the manual advises. Statistics are renewed on the samples that are held out: for networks with BatchNorm
HELD_OUT of them, in batches of 32, of which the first one calibrates. All others are scored. `0.5` is the manual's
setting (30 batches, `bn_moving_average_fraction` 0.5), `0.9` takes 40 batches and keeps more of the statistics before:
of a layer whose third blob is 1000 they are 60 % of the result. Then the bytes: of the weights (codes and tables
against float32) and of the whole caffemodel. `--only NETWORK` chooses.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from networks import ASSETS, CALIBRATION, Classifier, classifiers

from amctc import driver
from amctc.dialects.table import op_def
from amctc.frontends import load_model
from amctc.runtime.labels import Labels
from amctc.text.wire import LEN, walk

HELD_OUT = 256
INITS = ("uniform", "gaussian", "d2sampling", "optimal")
UPDATES = {
    "none": "",
    "0.5": "update_bn: true bn_update_config { bn_update_iterations: 30 bn_moving_average_fraction: 0.5 }",
    "0.9": "update_bn: true bn_update_config { bn_update_iterations: 40 bn_moving_average_fraction: 0.9 }",
}


@dataclass(frozen=True)
class Network:
    """A classifier, how many of its samples are held out, and their batches."""

    classifier: Classifier
    held_out: int
    batch: int

    @property
    def name(self) -> str:
        return self.classifier.name


def networks(scratch: Path) -> Iterator[Network]:
    for classifier in classifiers(scratch):
        if classifier.name == "squeezenet":
            yield Network(classifier, CALIBRATION, 8)
        elif classifier.name != "cifar10_full":
            yield Network(classifier, HELD_OUT, CALIBRATION)
    yield Network(mnist_bn(scratch), HELD_OUT, CALIBRATION)


def mnist_bn(scratch: Path) -> Classifier:
    """The small network with BatchNorm that real Caffe has trained, on the digits beside it."""
    folder = ASSETS.parent / "golden/caffe/nets"
    with np.load(folder / "digits_test.npz") as file:
        images, labels = file["images"], file["labels"]
    np.savez(scratch / "digits.npz", data=images.astype(np.float32), label=labels)
    model, weights = folder / "mnist_bn.prototxt", folder / "mnist_bn.caffemodel"
    return Classifier("mnist_bn", model, weights, scratch / "digits.npz", "label", "scale=0.00390625")


class Bench:
    """One network: its settings compiled and scored, each against float."""

    def __init__(self, network: Network, scratch: Path) -> None:
        self._network = network
        self._scratch = scratch
        self._data = self._held_out()
        graph = load_model(network.classifier.model, network.classifier.weights)
        weighted = [node for node in graph.nodes if op_def(node).linear is not None]
        self._first, self._last = weighted[0], weighted[-1]
        self.has_batch_norm = any(op_def(node).statistics is not None for node in graph.nodes)
        self.float = self.score(network.classifier.model, network.classifier.weights)

    def _held_out(self) -> Path:
        source = self._network.classifier.data
        if source.is_dir():  # the first of its images calibrate, and there is no BatchNorm
            return source
        path = self._scratch / f"{self._network.name}_held_out.npz"
        with np.load(source) as file:
            np.savez(path, **{name: file[name][: self._network.held_out] for name in file.files})
        return path

    def score(self, model: Path, weights: Path) -> float:
        """Top-1 on what is not held out."""
        classifier, begin = self._network.classifier, self._network.held_out
        graph = load_model(model, weights)
        dataset = driver.open_dataset(graph, classifier.data, classifier.preprocess)
        labels = Labels.open(classifier.labels, dataset)
        end = len(dataset)
        rest, truth = dataset.select(begin, end), labels.select(begin, end)
        return driver.evaluate(graph, rest, truth, batch_size=self._network.batch).top1

    def run(self, weights: str, uniform_ends: bool, update: str) -> dict[str, Path]:
        """The files of a setting, by the ends of their names."""
        classifier, batch = self._network.classifier, self._network.batch
        override = 'override_layer_configs {{ layer_name: "{}" calibration_config {{ arq_quantize {{ }} }} }}\n'
        ends = "".join(override.format(node.name) for node in (self._first, self._last) if uniform_ends)
        text = f"batch_num: {CALIBRATION // batch}\n{update}\ncommon_config {{ {weights} }}\n{ends}\n"
        policy = self._scratch / "policy.cfg"
        policy.write_text(text)
        result = driver.compile(
            classifier.model,
            classifier.weights,
            policy=policy,
            data=self._data,
            preprocess=classifier.preprocess,
            batch_size=batch,
            output=self._scratch / "net",
        )
        return {path.name.removeprefix("net_"): path for path in result.files}

    def line(self, weights: str, uniform_ends: bool, update: str) -> None:
        files = self.run(weights, uniform_ends, UPDATES[update])
        top1 = self.score(files["fake_quant_model.prototxt"], files["fake_quant_weights.caffemodel"])
        ends = "8 bits" if uniform_ends else "as all"
        print(
            f"{self._network.name:18} {weights:42} ends {ends:7} update_bn {update:5} "
            f"top-1 {100 * top1:6.2f}  {100 * (top1 - self.float):+.2f}",
            flush=True,
        )

    def sizes(self) -> None:
        """The bytes of everything clustered."""
        files = self.run('snq_quantize { init_algo: "optimal" }', False, "")
        deploy, source = files["deploy_weights.caffemodel"], self._network.classifier.weights
        whole = deploy.stat().st_size / source.stat().st_size
        graph = load_model(self._network.classifier.model, source)
        floats = sum(
            node.weights[trait.weight].nbytes for node in graph.nodes if (trait := op_def(node).linear) is not None
        )
        codes = sum(_clustered(deploy))
        print(f"{self._network.name:18} weights {codes / floats:.4f} of the float ones, the caffemodel {whole:.4f}")


def _clustered(path: Path) -> Iterator[int]:
    """The bytes of the codes and tables of each clustered blob of a caffemodel."""
    for layer in walk(memoryview(path.read_bytes())):
        if layer.number != 100 or layer.kind != LEN:
            continue
        for blob in walk(layer.payload):
            if blob.number == 7 and blob.kind == LEN:
                yield sum(len(part.payload) for part in walk(blob.payload) if part.number in (200000, 200001))


def bench(network: Network, scratch: Path) -> None:
    one = Bench(network, scratch)
    print(f"{network.name:18} float top-1 {100 * one.float:.2f}")
    updates = UPDATES if one.has_batch_norm else ("none",)
    for update in updates:
        one.line("arq_quantize { }", False, update)
    for uniform_ends in (False, True):
        for init in INITS:
            for update in updates:
                one.line(f'snq_quantize {{ init_algo: "{init}" }}', uniform_ends, update)
    one.sizes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for network in networks(Path(folder)):
            if not given.only or network.name in given.only:
                bench(network, Path(folder))


if __name__ == "__main__":
    main()
