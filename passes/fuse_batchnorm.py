"""fuse-batchnorm: move BatchNorm, Scale and Bias into the linear layer before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.dialects.traits import affine_coefficients, linear_trait
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import RewritePass
from amctc.pipeline.pattern import Match


@dataclass(frozen=True)
class FuseBatchNorm(RewritePass):
    """Fold BatchNorm, then Scale, then Bias into the convolution, deconvolution or InnerProduct before them.

    With y = a*x + b for each channel of axis 1, the weights of output channel c become a[c]*W[c] and
    the bias a[c]*bias[c] + b[c], computed in float64. Only maps along the channel axis are folded;
    `do_fusion: false` and `skip_fusion_layers` are honoured. A layer in the middle of the chain that
    may not be folded ends the chain there.
    """

    name: ClassVar[str] = "fuse-batchnorm"
    before: ClassVar[tuple[str, ...]] = ("depthwise-affine", "annotate-quant")
    pattern: ClassVar[str] = "linear -> BatchNorm? -> Scale? -> Bias?"

    def run(self, graph: Graph, context: Context) -> bool:
        if context.policy is not None and not context.policy.do_fusion:
            return False
        return super().run(graph, context)

    def check(self, match: Match, context: Context) -> str | None:
        linear = match.first
        if linear.weights.keys() < {"weight"}:
            return f"`{linear.name}` has no weights"
        shape = linear.output.shape
        if shape is None or linear_trait(linear).channel_axis(linear, shape) != 1:
            return f"the output channels of `{linear.name}` are not on axis 1"
        shared = _shared_weights(linear)
        if shared is not None:
            return f"`{linear.name}` shares its weights with `{shared.name}`"
        return self._refusal(linear, match.rest[0], context)

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        linear = match.first
        for node in match.rest:
            if self._refusal(linear, node, context) is not None:
                return
            fold_affine(linear, node)
            graph.fuse(linear, node, self.name, f"folded {node.type} `{node.name}` into the weights")

    def _refusal(self, linear: Node, node: Node, context: Context) -> str | None:
        skipped = context.policy.skip_fusion_layers if context.policy is not None else frozenset[str]()
        for name in (linear.name, node.name):
            if name in skipped:
                return f"`{name}` is listed in skip_fusion_layers"
        found = affine_coefficients(node, linear_trait(linear).out_channels(linear))
        return found if isinstance(found, str) else None


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


def _shared_weights(linear: Node) -> Node | None:
    mine = {id(array) for array in linear.weights.values()}
    for other in linear.graph.nodes:
        if other is not linear and any(id(array) in mine for array in other.weights.values()):
            return other
    return None
