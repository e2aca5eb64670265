"""Small nets for tests: a prototxt text and random weights, read by the frontend as any file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_def
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.text.proto_schema import load_schema


def conv(name: str, bottom: str, outputs: int, kernel: int = 3, more: str = "", type: str = "Convolution") -> str:
    """A convolution, named like its top."""
    parameter = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
    return layer(name, type, bottom, name, parameter)


def layer(name: str, type: str, bottoms: str, top: str, more: str = "") -> str:
    """Any other layer; `bottoms` are separated by spaces."""
    reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{type}" {reads} top: "{top}" {more} }}\n'


def data(shape: str = "2 3 8 8", name: str = "data") -> str:
    dims = " ".join(f"dim: {dim}" for dim in shape.split())
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def make_net(folder: Path, text: str, seed: int = 0) -> Graph:
    """Write the net with random weights of the right shapes, and read it back."""
    prototxt, weights = write_net(folder, text, seed)
    return load_model(prototxt, weights if weights.stat().st_size else None)


def write_net(folder: Path, text: str, seed: int = 0) -> tuple[Path, Path]:
    """A prototxt and a caffemodel with random weights in a folder."""
    prototxt, weights = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(f'name: "net"\n{text}', encoding="utf-8")
    graph = load_model(prototxt)
    shapes = annotate_shapes(graph)
    rng = np.random.default_rng(seed)
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    for node in graph.nodes:
        wanted = op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs))
        if not wanted:
            continue
        entry = message.layer.add()
        entry.name = node.name
        for role, shape in wanted.items():
            blob = entry.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.append(_random(rng, role, shape).tobytes())
    weights.write_bytes(message.SerializeToString())
    return prototxt, weights


def _random(rng: np.random.Generator, role: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if role == "variance":
        return rng.uniform(0.5, 2, shape).astype(np.float32)
    if role == "factor":
        return np.full(shape, 2.0, np.float32)
    return rng.normal(scale=0.5, size=shape).astype(np.float32)
