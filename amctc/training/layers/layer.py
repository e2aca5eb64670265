"""A layer of a network as the rules see it: its node, its phase and its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from amctc.diagnostics import DiagnosticError
from amctc.dialects.retrain import TrainedWeights, trained_weights
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.training.quantizers import Channels, UlqState, arq_weights

Phase: TypeAlias = Literal["TRAIN", "TEST"]
Tensors: TypeAlias = tuple[Tensor, ...]

Run: TypeAlias = Callable[[Tensors], Tensors]
"""The outputs of a layer for its inputs, float32 each."""


@dataclass(frozen=True)
class Weight:
    """A blob of a layer: the tensor that holds it, and the shape in which this layer reads it."""

    tensor: Tensor
    shape: Shape


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of one network. `weights` are its blobs by role, `memory` what it keeps from one batch to the next.

    `clips` are those that a RetrainData learns, None for any other layer and in phase TEST.
    """

    node: Node
    phase: Phase
    weights: Mapping[str, Weight]
    random: torch.Generator
    clips: UlqState | None = None
    memory: dict[str, Tensors] = field(default_factory=dict[str, Tensors])

    @property
    def device(self) -> torch.device:
        return self.random.device

    def stored(self, role: str) -> Tensor:
        """A blob as it is stored, in the layer's own shape: a view. `DiagnosticError` (AM420) where it is missing."""
        found = self.weights.get(role)
        if found is None:
            help = "give the weights file too: a layer without weights cannot be run"
            raise DiagnosticError(node_error("AM420", self.node, f"has no {role}", help))
        return found.tensor if tuple(found.tensor.shape) == found.shape else found.tensor.view(found.shape)

    def weight_reader(self, role: str) -> Callable[[], Tensor]:
        """What gives a blob in every pass: as it is stored, or quantized where training does so. Raises as `stored`."""
        stored, how = self.stored(role), self._quantized(role)
        if how is None:
            return lambda: self.stored(role)
        node, channels = self.node, Channels.of(self.node, stored)
        return lambda: arq_weights(self.stored(role), node, how, channels)

    def _quantized(self, role: str) -> TrainedWeights | None:
        linear = op_def(self.node).linear
        return trained_weights(self.node) if linear is not None and linear.weight == role else None


Rule: TypeAlias = Callable[[Layer, tuple[Shape, ...]], Run]
"""What computes a layer for inputs of these shapes; the shapes have passed the op's `infer`."""
