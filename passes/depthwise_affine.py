"""depthwise-affine: turn a left-over BatchNorm, Scale, Bias chain into one DepthwiseConv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.dialects.traits import affine_coefficients
from amctc.ir import Graph, Node, Provenance
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import RewritePass
from amctc.pipeline.pattern import Match
from amctc.text.plain import Symbol


@dataclass(frozen=True)
class DepthwiseAffine(RewritePass):
    """Replace left-over BatchNorm, Scale and Bias layers whose data is to be quantized by a 1x1 DepthwiseConv.

    The hardware has an integer convolution but no integer BatchNorm. The new layer stands for the
    whole chain y = a*x + b: weight a, bias b, one 1x1 filter a channel. Only maps along the channel
    axis of a 4-D blob are turned (seed 001, 工具实现的加速优化).
    """

    name: ClassVar[str] = "depthwise-affine"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm",)
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    pattern: ClassVar[str] = "BatchNorm|Scale|Bias"

    def check(self, match: Match, context: Context) -> str | None:
        node = match.first
        layer = context.need_policy().layers.get(node.name)
        if layer is None or not layer.quant_enable.value:
            return "the quantization of its data is not switched on"
        shape = node.inputs[0].shape
        if shape is None or len(shape) != 4:
            return "its input is not a 4-D blob"
        found = affine_coefficients(node, shape[1])
        return found if isinstance(found, str) else None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        chain = self._chain(match.first, graph, context)
        head = chain[0]
        shape = head.inputs[0].shape
        channels = shape[1] if shape is not None else 0
        scale, shift = np.ones(channels), np.zeros(channels)
        for node in chain:
            found = affine_coefficients(node, channels)
            if isinstance(found, str):
                raise ValueError(found)
            a, b = found
            scale, shift = a * scale, a * shift + b
        new = graph.add(
            graph.unused_name(f"{head.name}_depthwise"),
            "caffe.DepthwiseConv",
            [head.inputs[0]],
            [chain[-1].output.blob],
            attrs={
                "convolution_param": {
                    "num_output": channels,
                    "bias_term": True,
                    "kernel_size": (1,),
                    "group": channels,
                    "engine": Symbol("CAFFE"),
                }
            },
            weights={
                "weight": scale.astype(np.float32).reshape(channels, 1, 1, 1),
                "bias": shift.astype(np.float32),
            },
            provenance=Provenance(head.origin, absorbed=tuple(node.name for node in chain), inserted=True),
            beside=head,
        )
        new.output.shape = shape
        new.record(self.name, f"stands for {', '.join(f'{node.type} `{node.name}`' for node in chain)}")
        graph.replace_uses(chain[-1].output, new.output)
        for node in reversed(chain):
            graph.remove(node)

    def _chain(self, head: Node, graph: Graph, context: Context) -> tuple[Node, ...]:
        """`head` and the BatchNorm, Scale, Bias layers behind it, in that order, that may join it."""
        order = ("BatchNorm", "Scale", "Bias")
        chain = [head]
        while graph.has_single_use(chain[-1].output):
            use = graph.uses(chain[-1].output)[0]
            follower = use.node
            if (
                use.index != 0
                or follower.type not in order
                or order.index(follower.type) <= order.index(chain[-1].type)
            ):
                break
            if self.check(Match((follower,), (follower,)), context) is not None:
                break
            chain.append(follower)
        return tuple(chain)
