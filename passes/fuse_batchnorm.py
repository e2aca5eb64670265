"""fuse-batchnorm: move BatchNorm, Scale and Bias into the linear layer before them.

    Given   data -> conv: Convolution (W, b) -> bn: BatchNorm -> scale: Scale -> out
    Result  data -> conv: Convolution (a*W, a*b + b') -> out

With y = a*x + b' for each channel of axis 1, the weights of output channel c become a[c]*W[c] and the bias
a[c]*b[c] + b'[c], computed in float64.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.dialects.traits import affine_coefficients, linear_trait
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import fusion_is_off, fusion_is_skipped
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass


@dataclass(frozen=True)
class FuseBatchNorm(RewritePass):
    """Fold BatchNorm, then Scale, then Bias into the convolution, deconvolution or InnerProduct before them.

    Only maps along the channel axis are folded; `do_fusion: false` and `skip_fusion_layers` are honoured.
    A layer in the middle of the chain that may not be folded ends the chain there. Layers that share their
    weights with others are left alone.
    """

    name: ClassVar[str] = "fuse-batchnorm"
    before: ClassVar[tuple[str, ...]] = ("depthwise-affine", "annotate-quant")
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "linear -> BatchNorm? -> Scale? -> Bias?"

    def skip_reason(self, context: Context) -> str | None:
        return fusion_is_off(context)

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        if reason := fusion_is_skipped(node, context):
            return reason
        if node is match.first:
            return _linear_obstacle(node, context)
        found = affine_coefficients(node, linear_trait(match.first).out_channels(match.first))
        return found if isinstance(found, str) else None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        linear = match.first
        for node in match.rest:
            fold_affine(linear, node)
            graph.fuse(linear, node, self.name, f"folded {node.type} `{node.name}` into the weights")


def fold_affine(linear: Node, node: Node) -> None:
    """Replace the weights and bias of `linear` by those of `node` after `linear`."""
    trait = linear_trait(linear)
    found = affine_coefficients(node, trait.out_channels(linear))
    if isinstance(found, str):
        raise ValueError(found)
    a, b = found
    weight = linear.weights[trait.weight]
    rows = trait.by_output_channel(linear, weight).astype(np.float64)
    scaled = rows * a.reshape((-1,) + (1,) * (rows.ndim - 1))
    bias = linear.weights.get(trait.bias)
    old = np.zeros_like(b) if bias is None else bias.astype(np.float64).reshape(-1)
    linear.weights[trait.weight] = trait.from_output_channel(linear, scaled.astype(np.float32))
    linear.weights[trait.bias] = (a * old + b).astype(np.float32)
    trait.enable_bias(linear)


def _linear_obstacle(linear: Node, context: Context) -> str | None:
    if "weight" not in linear.weights:
        return f"`{linear.name}` has no weights"
    shape = linear.output.shape
    if shape is None or linear_trait(linear).channel_axis(linear, shape) != 1:
        return f"the output channels of `{linear.name}` are not on axis 1"
    uses = context.fact(_uses_of_arrays, linear.graph)
    if any(uses[id(array)] > 1 for array in linear.weights.values()):
        return f"`{linear.name}` shares its weights with another layer"
    return None


def _uses_of_arrays(graph: Graph) -> Counter[int]:
    """How many layers hold each weight array, by its identity."""
    return Counter(key for node in graph.nodes for key in {id(array) for array in node.weights.values()})
