"""A training step of a network of amctc, in floats and quantized, beside the same float network written in torch.

All compute the loss of one batch and all gradients; the weights are not changed. The network is six convolutions, each
with BatchNorm, Scale and ReLU in the one and BatchNorm2d and ReLU in the other; quantized, each layer with weights has
a learned range of data and weights on a grid of 8 bits. Steps are taken in turn; told are medians of milliseconds and
of ratios to torch, on the clock and of the processor. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def
from amctc.driver.passes import RETRAIN, build_pipeline
from amctc.frontends.caffe import NetState, load_caffe
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.torch_missing import need_torch

LAYERS, SIZE, CLASSES = 6, 32, 10
POOLED = (1, 3)


def prototxt(batch: int, channels: int) -> str:
    """The network as Caffe has it."""
    inputs = {"x": (batch, 3, SIZE, SIZE), "label": (batch,)}
    lines = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shape)} }} }} }}"
        for name, shape in inputs.items()
    ]

    def add(kind: str, bottom: str, top: str, more: str = "") -> str:
        name = f"{top}_{len(lines)}"
        bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
        lines.append(f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {more} }}')
        return top

    blob = "x"
    for number in range(LAYERS):
        filters = f"convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 bias_term: false }}"
        blob = add("Convolution", blob, f"c{number}", filters)
        for kind, more in (("BatchNorm", ""), ("Scale", "scale_param { bias_term: true }"), ("ReLU", "")):
            add(kind, blob, blob, more)
        if number in POOLED:
            blob = add("Pooling", blob, f"p{number}", "pooling_param { kernel_size: 2 stride: 2 }")
    blob = add("Pooling", blob, "mean", "pooling_param { pool: AVE global_pooling: true }")
    blob = add("InnerProduct", blob, "score", f"inner_product_param {{ num_output: {CLASSES} }}")
    add("SoftmaxWithLoss", f"{blob} label", "loss")
    return "\n".join(lines)


def graph_of(text: str) -> Graph:
    """The graph in phase TRAIN, with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        graph = load_caffe(path, state=NetState("TRAIN"), keep_training=True)
    shapes, rng = infer_shapes(graph), np.random.default_rng(0)
    for node in graph.nodes:
        wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        node.weights.update({role: rng.standard_normal(s).astype(np.float32) / 8 for role, s in wanted.items()})
    return graph


def steps(batch: int, channels: int) -> tuple[Callable[[], None], ...]:
    """A step of amctc in floats, a quantized one, and one of plain torch, on the same data."""
    import torch
    from torch import nn

    from amctc.training.network import Network

    quantized = graph_of(prototxt(batch, channels))
    build_pipeline(RETRAIN).run(quantized, Context())
    networks = [Network(graph, phase="TRAIN") for graph in (graph_of(prototxt(batch, channels)), quantized)]
    layers: list[nn.Module] = []
    for number in range(LAYERS):
        before = channels if number else 3
        layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number in POOLED else []
    plain = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)
    label = rng.integers(0, CLASSES, batch)

    def ours(network: Network) -> None:
        network.zero_gradients()
        network.forward({"x": x, "label": label.astype(np.float32)})
        network.backward()

    def theirs() -> None:
        plain.zero_grad()
        nn.functional.cross_entropy(plain(torch.from_numpy(x)), torch.from_numpy(label)).backward()

    return *(partial(ours, network) for network in networks), theirs


def seconds(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds of one step: on the clock, and of the processor, all threads together."""
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    try:
        need_torch()
    except DiagnosticError as missing:
        print(missing)
        return
    import torch

    torch.set_num_threads(arguments.threads)
    print(f"{'batch':>6} {'channels':>9} {'':>9} {'float':>8} {'quantized':>9} {'torch':>8} {'ratios':>12}")
    for batch, channels in ((2, 4), (16, 16), (64, 32)):
        chosen = steps(batch, channels)
        for step in (*chosen, *chosen):
            step()
        rounds = [[seconds(step) for step in chosen] for _ in range(arguments.repeats)]
        for index, what in enumerate(("clock", "processor")):
            times = [[pair[index] for pair in each] for each in rounds]
            told = [1000 * statistics.median(column) for column in zip(*times, strict=True)]
            floats, quantized = (statistics.median(each[i] / each[2] for each in times) for i in (0, 1))
            line = f"{batch:>6} {channels:>9} {what:>9} {told[0]:>8.1f} {told[1]:>9.1f} {told[2]:>8.1f}"
            print(f"{line} {floats:>6.2f} {quantized:>5.2f}")


if __name__ == "__main__":
    main()
