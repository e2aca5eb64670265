"""Small nets with random weights, as training reads them: losses kept, of either phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def
from amctc.frontends.caffe import NetState, load_caffe
from amctc.ir import Graph
from amctc.training.layers.layer import Phase
from amctc.training.network import Network


def read_net(folder: Path, text: str, phase: Phase = "TRAIN", seed: int = 0) -> Graph:
    """The net of a prototxt text; layers that share a parameter have the same weights."""
    path = folder / f"{phase}.prototxt"
    path.write_text(text, encoding="utf-8")
    graph = load_caffe(path, state=NetState(phase), keep_training=True)
    shapes, rng = infer_shapes(graph), np.random.default_rng(seed)
    for node in graph.nodes:
        for role, shape in op_def(node).weight_shapes(node, tuple(shapes[value] for value in node.inputs)).items():
            drawn = rng.standard_normal(shape).astype(np.float32) / 2
            node.weights[role] = np.abs(drawn) if role in ("variance", "factor") else drawn
    return graph


def gradient(network: Network, layer: str, role: str) -> torch.Tensor:
    """The gradient of a blob of a layer, in the layer's own shape; it must have one."""
    weight = network.table.weights[layer][role]
    assert weight.tensor.grad is not None, f"{layer} has no gradient for its {role}"
    return weight.tensor.grad.view(weight.shape)


def has_gradient(network: Network, layer: str, role: str) -> bool:
    """Whether a pass back has reached a blob of a layer."""
    return network.table.weights[layer][role].tensor.grad is not None
