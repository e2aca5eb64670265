"""A training step of a network of amctc beside the same network written in torch: CPU seconds of both, and their ratio.

Both compute the loss of one batch and all gradients; the weights are not changed. The network is six convolutions, each
with BatchNorm, Scale and ReLU in the one and BatchNorm2d and ReLU in the other. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def
from amctc.frontends.caffe import NetState, load_caffe
from amctc.ir import Graph
from amctc.training.torch_missing import need_torch

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


def steps(batch: int, channels: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of amctc and one of plain torch, on the same data."""
    import torch
    from torch import nn

    from amctc.training.network import Network

    network = Network(graph_of(prototxt(batch, channels)), phase="TRAIN")
    layers: list[nn.Module] = []
    for number in range(LAYERS):
        before = channels if number else 3
        layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number in POOLED else []
    plain = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)
    label = rng.integers(0, CLASSES, batch)

    def ours() -> None:
        network.zero_gradients()
        network.forward({"x": x, "label": label.astype(np.float32)})
        network.backward()

    def theirs() -> None:
        plain.zero_grad()
        nn.functional.cross_entropy(plain(torch.from_numpy(x)), torch.from_numpy(label)).backward()

    return ours, theirs


def seconds(step: Callable[[], None]) -> float:
    """CPU seconds of one step, all threads together."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    try:
        need_torch()
    except DiagnosticError as missing:
        print(missing)
        return
    print(f"{'batch':>6} {'channels':>9} {'amctc ms':>9} {'torch ms':>9} {'ratio':>6}")
    for batch, channels in ((2, 4), (16, 16), (64, 32)):
        ours, theirs = steps(batch, channels)
        ours(), theirs()
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
        first, second = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{batch:>6} {channels:>9} {first:>9.1f} {second:>9.1f} {ratio:>6.2f}")


if __name__ == "__main__":
    main()
