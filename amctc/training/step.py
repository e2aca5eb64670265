"""One layer's turn in a pass: its rule, built for the shapes that it meets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import torch
from torch import Tensor

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.op import OpError
from amctc.dialects.shapes import check_weights, infer_nodes, node_error
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.runtime.out_of_memory import out_of_memory
from amctc.training.layers.layer import Layer, Run
from amctc.training.layers.rules import NO_GRADIENT, RULES
from amctc.training.layers.without_gradient import run_outside, runs_without_gradient

_MOST_SHAPES = 2
"""For so many kinds of batches a layer stays built: those of an epoch, and its shorter last one."""

_NO_MEMORY = ("can't allocate memory", "Storage size calculation overflowed")
"""What torch says on a CPU; on other devices it has an exception for it."""


class Step:
    """A layer with what it reads. `stopped` are the inputs, of all nodes, at which gradients end."""

    def __init__(self, layer: Layer, stopped: Set[tuple[Node, int]]) -> None:
        node = layer.node
        self.layer = layer
        self.inputs: tuple[Value, ...] = node.inputs
        self.outputs: tuple[Value, ...] = node.outputs
        self._stopped = tuple((node, index) in stopped for index in range(len(self.inputs)))
        self._built: dict[tuple[Shape, ...], Run] = {}

    def run(self, values: Mapping[Value, Tensor]) -> dict[Value, Tensor]:
        """What the layer gives. Raises `DiagnosticError` as `Network.forward` says."""
        inputs = tuple(
            values[value].detach() if stopped else values[value]
            for value, stopped in zip(self.inputs, self._stopped, strict=True)
        )
        shapes = tuple(tuple(x.shape) for x in inputs)
        try:
            found = self._run_for(shapes)(inputs)
        except (MemoryError, RuntimeError) as failure:
            if not _is_out_of_memory(failure):
                raise
            raise out_of_memory((self.layer.node,), dict(zip(self.inputs, shapes, strict=True))) from failure
        return dict(zip(self.outputs, found, strict=True))

    def _run_for(self, shapes: tuple[Shape, ...]) -> Run:
        found = self._built.get(shapes)
        if found is not None:
            return found
        while len(self._built) >= _MOST_SHAPES:
            del self._built[next(iter(self._built))]
        self._built[shapes] = self._build(shapes)
        return self._built[shapes]

    def _build(self, shapes: tuple[Shape, ...]) -> Run:
        node = self.layer.node
        known = dict(zip(self.inputs, shapes, strict=True))
        check_weights([node], {**known, **infer_nodes([node], known)})
        rule = RULES.get(node.op, run_outside)
        try:
            return rule(self.layer, shapes)
        except OpError as mistake:
            raise DiagnosticError(node_error("AM320", node, str(mistake))) from None


def check_layers(layers: Iterable[Layer], active: Set[Node]) -> None:
    """Raise `DiagnosticError` for every layer that cannot be run (AM901), or not where it is (AM902).

    `active` are those that gradients go through.
    """
    collector = Collector()
    for layer in layers:
        node = layer.node
        known = node.op in RULES
        floats = all(dtype == "float32" for dtype in op_def(node).output_dtypes(node))
        if not floats or not (known or runs_without_gradient(node)):
            message = (
                "training knows no layer of this type" if floats else "it computes on integers, which cannot learn"
            )
            collector.add(node_error("AM901", node, message))
        elif node in active and (not known or node.op in NO_GRADIENT):
            message = "has no gradient, and lies between layers that learn and a loss"
            help = "let nothing before it learn (`lr_mult: 0`), or stop the gradient here with `propagate_down: false`"
            collector.add(node_error("AM902", node, message, help))
    collector.raise_errors()


def _is_out_of_memory(failure: Exception) -> bool:
    if isinstance(failure, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return any(words in str(failure) for words in _NO_MEMORY)
