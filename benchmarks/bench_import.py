"""What importing costs: 100 MB of weights against protobuf's own parser, and nets of 1,000 to 10,000 layers.

`--weights` and `--layers` run one of the two; without either both run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.frontends.caffe import load_caffe
from amctc.frontends.caffe.weights import read_weights
from amctc.ir.verify import verify

MEGABYTES = 100
LAYER_COUNTS = (1000, 3000, 10000)
REPEATS = 5


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs."""
    found: list[float] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def weights_curve(folder: Path) -> None:
    """A chain of inner products of a million weights each."""
    prototxt, caffemodel = folder / "heavy.prototxt", folder / "heavy.caffemodel"
    side, count = 1024, MEGABYTES * 1024 * 1024 // (1024 * 1024 * 4)
    layers = [f'input: "x0" input_shape {{ dim: 1 dim: {side} }}\n']
    net = caffe_schema().message(NET)()
    rng = np.random.default_rng(0)
    for number in range(count):
        layers.append(
            f'layer {{ name: "f{number}" type: "InnerProduct" bottom: "x{number}" top: "x{number + 1}" '
            f"inner_product_param {{ num_output: {side} bias_term: false }} }}\n"
        )
        entry = net.layer.add(name=f"f{number}", type="InnerProduct")  # type: ignore[attr-defined]  # made at run time
        blob = entry.blobs.add()
        blob.shape.dim.extend([side, side])
        blob.data.extend(rng.standard_normal(side * side, dtype=np.float32))
    prototxt.write_text("".join(layers), encoding="utf-8")
    caffemodel.write_bytes(net.SerializeToString())
    del net

    def parse() -> object:
        return caffe_schema().message(NET).FromString(caffemodel.read_bytes())

    size = caffemodel.stat().st_size / 1e6
    ours, theirs, whole = (
        best(lambda: read_weights(caffemodel)),
        best(parse),
        best(lambda: load_caffe(prototxt, caffemodel)),
    )
    print(f"{size:.0f} MB of weights: protobuf parses them in {theirs:.3f} s, read_weights in {ours:.3f} s,")
    print(f"  the whole import takes {whole:.3f} s: {whole / theirs:.2f} times protobuf's parser")


def layers_curve(folder: Path) -> None:
    """Chains of convolution, batch norm, scale and an in-place ReLU, with a shortcut every eight layers."""
    for count in LAYER_COUNTS:
        prototxt = folder / f"chain{count}.prototxt"
        prototxt.write_text(chain(count), encoding="utf-8")
        start = time.perf_counter()
        graph = load_caffe(prototxt)
        imported = time.perf_counter() - start
        start = time.perf_counter()
        verify(graph)
        verified = time.perf_counter() - start
        each = 1e6 * (imported + verified) / len(graph)
        print(f"{len(graph):6} layers: import {imported:.2f} s, verify {verified:.2f} s: {each:.0f} us a layer")


def chain(count: int) -> str:
    """The prototxt of a deep residual net of about so many layers."""
    lines = ['input: "x0" input_shape { dim: 1 dim: 8 dim: 4 dim: 4 }\n']
    kinds = (
        ("Convolution", "convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false }"),
        ("BatchNorm", "batch_norm_param { eps: 1e-4 }"),
        ("Scale", "scale_param { bias_term: true }"),
    )
    blob = shortcut = "x0"
    number = 0
    while number < count - 1:
        for kind, parameter in kinds:
            lines.append(_layer(number, kind, (blob,), f"x{number + 1}", parameter))
            number += 1
            blob = f"x{number}"
        lines.append(_layer(number, "ReLU", (blob,), blob, ""))
        number += 1
        if number % 8 == 0:
            lines.append(_layer(number, "Eltwise", (blob, shortcut), f"x{number + 1}", ""))
            number += 1
            blob = shortcut = f"x{number}"
    return "".join(lines)


def _layer(number: int, kind: str, bottoms: tuple[str, ...], top: str, parameter: str) -> str:
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{\n  name: "l{number}"\n  type: "{kind}"\n  {reads}\n  top: "{top}"\n  {parameter}\n}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", action="store_true", help="the weights only")
    parser.add_argument("--layers", action="store_true", help="the layers only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.weights or not options.layers:
            weights_curve(Path(folder))
        if options.layers or not options.weights:
            layers_curve(Path(folder))


if __name__ == "__main__":
    main()
