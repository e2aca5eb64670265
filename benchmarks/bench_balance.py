"""Balanced channels: the error of quantized networks without balance, at one strength, and at one for each layer.

    python benchmarks/bench_balance.py
    python benchmarks/bench_balance.py --images 8 --only squeezenet --layers

`SQNR` is that of the fake-quant model's outputs against the float model's: 10 * log10(sum of squares / sum of squared
differences), over the half of the images that did not calibrate; of `squeezenet` what the softmax reads. `uneven` is a
small network of ours whose channels differ in size by factors of up to a hundred; `squeezenet`, `efficientnet` and
`faces` (a small MobileNet-like detector) are real ones.
`seconds` is the processor time of the whole call over that of the first one, without balance, which loads the modules
too. With `--layers` the strengths
that were chosen are listed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from networks import ASSETS
from numpy.typing import NDArray

import amctc
from amctc.ir import Graph
from amctc.passes import PIPELINES
from amctc.runtime.datasets import Dataset
from amctc.runtime.preprocess import Preprocess

FloatArray = NDArray[np.float32]
ROWS: Mapping[str, str] = {
    "none": PIPELINES["ptq"],
    "0.5": PIPELINES["ptq"].replace("balance-channels", "balance-channels{migration_strength=0.5}"),
    "auto": PIPELINES["ptq"].replace("balance-channels", "balance-channels{migration_strength=auto}"),
    "auto, folded": PIPELINES["ptq"].replace("balance-channels", "balance-channels{migration_strength=auto,fold=true}"),
}
UNEVEN = """name: "uneven"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 16 dim: 16 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 16 kernel_size: 3 } }
layer { name: "ra" type: "ReLU" bottom: "a" top: "ra" }
layer { name: "b" type: "Convolution" bottom: "ra" top: "b" convolution_param { num_output: 16 kernel_size: 3 } }
layer { name: "rb" type: "ReLU" bottom: "b" top: "rb" }
layer { name: "c" type: "Convolution" bottom: "rb" top: "c" convolution_param { num_output: 16 kernel_size: 3 } }
layer { name: "rc" type: "ReLU" bottom: "c" top: "rc" }
layer { name: "out" type: "InnerProduct" bottom: "rc" top: "out" inner_product_param { num_output: 10 } }
"""


@dataclass(frozen=True)
class Case:
    """A network with its inputs, the first half of which calibrate; `blob` is compared, or all outputs."""

    name: str
    model: Path
    weights: Path | None
    input: str
    images: FloatArray
    blob: str | None = None


def uneven(count: int) -> Case:
    """Each input channel of a layer is as much smaller in its weights as it is larger in the data."""
    folder = Path(tempfile.mkdtemp())
    model = folder / "uneven.prototxt"
    model.write_text(UNEVEN)
    graph, rng = amctc.load(model), np.random.default_rng(1)
    sizes = np.ones(3)
    for name, outputs, inputs in (("a", 16, 3), ("b", 16, 16), ("c", 16, 16)):
        made = 10 ** rng.uniform(-1, 1, outputs)
        weight = rng.normal(size=(outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
        weight *= made.reshape(-1, 1, 1, 1) / sizes.reshape(1, -1, 1, 1)
        graph.node(name).weights.update(weight=weight.astype(np.float32), bias=np.zeros(outputs, np.float32))
        sizes = made
    weight = rng.normal(size=(10, 16, 100)) / 40 / sizes.reshape(1, -1, 1)
    last = {"weight": weight.reshape(10, 1600).astype(np.float32), "bias": np.zeros(10, np.float32)}
    graph.node("out").weights.update(last)
    weights = folder / "uneven.caffemodel"
    weights.write_bytes(_caffemodel(graph))
    return Case("uneven", model, weights, "data", rng.normal(size=(count, 3, 16, 16)).astype(np.float32))


def _caffemodel(graph: Graph) -> bytes:
    from amctc.text.proto_schema import load_schema

    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    for node in graph.nodes:
        for array in node.weights.values():
            entry = next((each for each in message.layer if each.name == node.name), None) or message.layer.add()
            entry.name = node.name
            blob = entry.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.append(array.tobytes())
    data: bytes = message.SerializeToString()
    return data


def photographs(name: str, model: Path, weights: Path | None, folder: str, preprocess: str, count: int) -> Case:
    graph = amctc.load(model, weights)
    (source,) = (value for node in graph.nodes if not node.inputs for value in node.outputs)
    shape = (1, *(source.shape or ())[1:])
    dataset = Dataset.open(
        str(ASSETS / "data" / folder), inputs={source.blob: shape}, preprocess=Preprocess.parse(preprocess)
    )
    images = np.concatenate([np.array(batch[source.blob]) for batch in dataset.batches(1)])
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return Case(name, model, weights, source.blob, images[chosen])


def squeezenet(count: int) -> Case:
    folder = ASSETS / "caffe/squeezenet_v1.0_dc"
    files = folder / "deploy.prototxt", folder / "squeezenet_v1.0_dc.caffemodel"
    preprocess = "resize-short=256,center-crop=227,bgr,mean=104:117:123"
    return replace(photographs("squeezenet", *files, "imagenet", preprocess, count), blob="pool_final")


def efficientnet(count: int) -> Case:
    model = ASSETS / "onnx/efficientnet_lite0.onnx"
    preprocess = "resize-short=256,center-crop=224,mean=127,std=128"
    return photographs("efficientnet", model, None, "imagenet", preprocess, count)


def faces(count: int) -> Case:
    model = ASSETS / "onnx/ultraface_slim_320_bn.onnx"
    return photographs("faces", model, None, "faces", "resize=320x240,mean=127,std=128", count)


CASES = {"uneven": uneven, "squeezenet": squeezenet, "efficientnet": efficientnet, "faces": faces}


def outputs(graph: Graph, case: Case, images: FloatArray) -> NDArray[np.float64]:
    blobs = [value.blob for value in graph.outputs] if case.blob is None else [case.blob]
    made = [amctc.run(graph, {case.input: image[np.newaxis]}, blobs) for image in images]
    return np.concatenate([each[blob].astype(np.float64).ravel() for each in made for blob in blobs])


def bench(case: Case, layers: bool) -> None:
    half = len(case.images) // 2
    calibration, scored = case.images[:half], case.images[half:]
    reference = outputs(amctc.load(case.model, case.weights), case, scored)
    usual = 0.0
    for row, pipeline in ROWS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            policy = folder / "policy.cfg"
            policy.write_text(f"batch_num: {half}")
            begun = time.process_time()
            graph = amctc.compile(
                case.model,
                case.weights,
                policy=policy,
                data={case.input: calibration},
                batch_size=1,
                target="onnx",
                output=folder / "net",
                pipeline=pipeline,
            ).graph
            seconds = time.process_time() - begun
            usual = usual or seconds
            found = outputs(graph, case, scored)
        sqnr = 10 * np.log10(np.square(reference).sum() / np.square(found - reference).sum())
        print(f"{case.name:13} {row:13} SQNR {sqnr:6.2f} dB  seconds x {seconds / usual:4.1f}  {_told(graph)}")
        if layers:
            for node in graph.nodes:
                words = [change.what for change in node.provenance.changes if change.by == "balance-channels"]
                print(*(f"    {node.name}: {what}" for what in words), sep="\n", end="\n" if words else "")


def _told(graph: Graph) -> str:
    balances = [node.quant.balance for node in graph.nodes if node.quant is not None and node.quant.balance is not None]
    kinds = Counter("folded" if balance.folded else "in front" for balance in balances)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="images of a network, half of which calibrate")
    parser.add_argument("--only", action="append", choices=sorted(CASES), help="a network; may be given again")
    parser.add_argument("--layers", action="store_true", help="list what was done to each layer")
    arguments = parser.parse_args()
    for name in arguments.only or CASES:
        bench(CASES[name](arguments.images), arguments.layers)


if __name__ == "__main__":
    main()
