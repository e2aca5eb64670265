"""fuse-batchnorm: move BatchNorm, Scale and Bias into the linear layer before them.

    Given   data -> conv: Convolution (W, b) -> bn: BatchNorm -> scale: Scale -> out
    Result  data -> conv: Convolution (a*W, a*b + b') -> out

With y = a*x + b' for each channel of axis 1, the weights of output channel c become a[c]*W[c] and the bias
a[c]*b[c] + b'[c], computed in float64. Weights that are integers already stay integers: |a[c]| goes into their scale,
and where a[c] is negative they change their sign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.op import Linear
from amctc.dialects.table import op_def
from amctc.dialects.traits import affine_coefficients, linear_trait, output_channel_axis
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import fusion_is_off, fusion_is_skipped, waits
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass
from amctc.quant.channel_factors import ScaledWeights, has_opposites, times_channel_factors


@dataclass(frozen=True)
class FuseBatchNorm(RewritePass):
    """Fold BatchNorm, then Scale, then Bias into the convolution, deconvolution or InnerProduct before them.

    Only maps along the channel axis are folded; `do_fusion: false` and `skip_fusion_layers` are honoured.
    A layer in the middle of the chain that may not be folded ends the chain there. Layers that share their
    weights with others are left alone, and those with quantized weights that may have one scale only.
    """

    name: ClassVar[str] = "fuse-batchnorm"
    before: ClassVar[tuple[str, ...]] = ("depthwise-affine", "annotate-quant", "observe", "calibrate", "quantize-bias")
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = (
        "linear -> BiasAdd? -> (BatchNorm|BatchNormalization|BNInference|BNInfer)? -> (Scale|Mul)? -> "
        "(Bias|BiasAdd|Add)?"
    )

    def skip_reason(self, context: Context) -> str | None:
        return fusion_is_off(context)

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        if reason := fusion_is_skipped(node, context):
            return reason
        if node is match.first:
            return _linear_obstacle(node, context)
        if reason := waits(node) or _more_is_read(node):
            return reason
        trait = linear_trait(match.first)
        found = affine_coefficients(node, trait.out_channels(match.first), _axis(match.first))
        if isinstance(found, str) or not _has_integers(match.first, trait):
            return found if isinstance(found, str) else None
        negative = f"a factor is negative, and an integer of `{match.first.name}` is -128, whose opposite INT8 lacks"
        return None if all(has_opposites(rows, found[0]) for rows in _integers(match.first, trait)) else negative

    def check(self, match: Match, context: Context) -> str | None:
        return _half_obstacle(match)

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        linear = match.first
        for node in match.rest:
            fold_affine(linear, node)
            graph.fuse(linear, node, self.name, f"folded {node.type} `{node.name}` into the weights")


def fold_affine(linear: Node, node: Node) -> None:
    """Replace the weights and bias of `linear` by those of `node` after `linear`."""
    trait = linear_trait(linear)
    found = affine_coefficients(node, trait.out_channels(linear), _axis(linear))
    if isinstance(found, str):
        raise ValueError(found)
    a, b = found
    if _has_integers(linear, trait):
        _scale_integers(linear, trait, a)
    else:
        weight = linear.weights[trait.weight]
        rows = trait.by_output_channel(linear, weight).astype(np.float64)
        scaled = rows * a.reshape((-1,) + (1,) * (rows.ndim - 1))
        linear.weights[trait.weight] = trait.from_output_channel(linear, scaled.astype(weight.dtype))
    bias = linear.weights.get(trait.bias)
    old = np.zeros_like(b) if bias is None else bias.astype(np.float64).reshape(-1)
    linear.weights[trait.bias] = (a * old + b).astype(_bias_type(linear, trait))
    trait.enable_bias(linear)


def _half_obstacle(match: Match) -> str | None:
    """That the numbers of a layer whose weights are halves would leave float16; None where they do not."""
    linear = match.first
    trait = linear_trait(linear)
    weight, bias = linear.weights[trait.weight], linear.weights.get(trait.bias)
    if weight.dtype != np.float16:
        return None
    rows = trait.by_output_channel(linear, weight).astype(np.float64)
    largest = np.abs(rows.reshape(len(rows), -1)).max(axis=1, initial=0)
    shift = np.zeros(len(rows)) if bias is None else bias.astype(np.float64).reshape(-1)
    for node in match.rest:
        found = affine_coefficients(node, len(rows), _axis(linear))
        if isinstance(found, str):
            return found
        largest, shift = np.abs(found[0]) * largest, found[0] * shift + found[1]
    if max(largest.max(initial=0), np.abs(shift).max(initial=0)) > float(np.finfo(np.float16).max):
        return f"the weights of `{linear.name}` would leave the range of float16"
    return None


def _bias_type(linear: Node, trait: Linear) -> np.dtype[np.generic]:
    """The type of a float bias: float32, but halves beside weights that are halves."""
    bias = linear.weights.get(trait.bias, linear.weights[trait.weight])
    return bias.dtype if bias.dtype == np.float16 else np.dtype(np.float32)


def _scale_integers(linear: Node, trait: Linear, a: NDArray[np.float64]) -> None:
    """Multiply the quantized weights of a layer by `a`; the annotation then has scales and tables for each channel."""
    if linear.quant is None or linear.quant.weight is None:
        raise ValueError(f"the weights of {linear.name!r} are integers without scales")
    weight = linear.quant.weight
    rows = trait.by_output_channel(linear, linear.weights[trait.weight])
    old = ScaledWeights(rows.astype(np.int8), weight.scales[trait.weight], weight.tables.get(trait.weight))
    new = times_channel_factors(old, a, linear.name)
    linear.weights[trait.weight] = trait.from_output_channel(linear, new.values)
    annotation = replace(linear.quant, weight=replace(weight, channel_wise=True))
    linear.quant = annotation.with_weight_scale(trait.weight, new.scale, new.table)


def _integers(linear: Node, trait: Linear) -> Iterator[NDArray[np.int8]]:
    """The integers of each output channel, and the levels of its table where the weights are clustered."""
    rows = trait.by_output_channel(linear, linear.weights[trait.weight]).astype(np.int8)
    yield rows
    weight = linear.quant.weight if linear.quant is not None else None
    table = weight.tables.get(trait.weight) if weight is not None else None
    if table is not None:
        yield np.broadcast_to(table, (len(rows), table.shape[1]))


def _axis(linear: Node) -> int:
    """The axis of the output channels, which has been found to be known."""
    axis = output_channel_axis(linear)
    return 1 if axis is None else axis


def _has_integers(linear: Node, trait: Linear) -> bool:
    weight = linear.weights.get(trait.weight)
    return weight is not None and weight.dtype.kind == "i"


def _linear_obstacle(linear: Node, context: Context) -> str | None:
    if linear_trait(linear).weight not in linear.weights:
        return f"`{linear.name}` has no weights"
    quantizable = op_def(linear).quantizable
    if _has_integers(linear, linear_trait(linear)) and (quantizable is None or not quantizable.channel_wise):
        return f"the weights of `{linear.name}` are quantized, and may not have a scale for each output channel"
    if output_channel_axis(linear) is None:
        return f"nothing says which axis the output channels of `{linear.name}` are on"
    uses = context.fact(_uses_of_arrays, linear.graph)
    if any(uses[id(array)] > 1 for array in linear.weights.values()):
        return f"`{linear.name}` shares its weights with another layer"
    return None


def _more_is_read(node: Node) -> str | None:
    for value in node.outputs[1:]:
        if node.graph.uses(value) or node.graph.is_output(value):
            return f"its output `{value.blob}` is read, too"
    return None


def _uses_of_arrays(graph: Graph) -> Counter[int]:
    """How many layers hold each weight array, by its identity."""
    return Counter(key for node in graph.nodes for key in {id(array) for array in node.weights.values()})
