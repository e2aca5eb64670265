"""Layers that training has no rule for: run as the runtime runs them, in numpy, where no gradient goes through."""

from __future__ import annotations

import math

import torch

from amctc.dialects.shapes import infer_nodes
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.runtime.executor import Executor
from amctc.training.layers.layer import Layer, Run, Tensors


def runs_without_gradient(node: Node) -> bool:
    """Whether the runtime can stand in: the layer has no blobs, which might be learned."""
    return not node.weights


def run_outside(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """The layer alone as a graph of its own."""
    alone = Graph()
    sources = [alone.add(f"input {i}", "caffe.Input", blobs=[f"input {i}"]) for i in range(len(shapes))]
    inputs = [source.output for source in sources]
    blobs = [f"output {i}" for i in range(len(layer.node.outputs))]
    node = alone.add(layer.node.name, layer.node.op, inputs, blobs, attrs=layer.node.attrs)
    made = infer_nodes([node], dict(zip(inputs, shapes, strict=True)))
    if node.outputs and all(value in made and not math.prod(made[value]) for value in node.outputs):
        # The runtime takes no empty data; there is nothing to compute either.
        empty = tuple(torch.empty(made[value], device=layer.device) for value in node.outputs)
        return lambda tensors: empty
    executor = Executor(alone, {v.blob: s for v, s in zip(inputs, shapes, strict=True)}, node.outputs, finite=False)

    def run(tensors: Tensors) -> Tensors:
        feeds = {value.blob: x.detach().cpu().numpy() for value, x in zip(inputs, tensors, strict=True)}
        found = executor.run(feeds)
        return tuple(torch.from_numpy(found[value]).to(layer.device, torch.float32) for value in node.outputs)

    return run
