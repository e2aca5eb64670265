"""depthwise-affine: turn a left-over BatchNorm, Scale, Bias chain into one DepthwiseConv.

    Given   data -> bn: BatchNorm -> scale: Scale -> out        (their data are to be quantized)
    Result  data -> bn_depthwise: DepthwiseConv, 1x1 (a, b) -> out

The whole chain is y = a*x + b for each channel; the filter of channel c is the one number a[c], its bias b[c].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.dialects.traits import affine_coefficients
from amctc.ir import Graph, Node, Provenance
from amctc.pipeline.context import Context
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass
from amctc.records.scale_record import SUFFIX
from amctc.text.plain import Symbol


@dataclass(frozen=True)
class DepthwiseAffine(RewritePass):
    """Replace left-over BatchNorm, Scale and Bias layers whose data is to be quantized by a 1x1 DepthwiseConv.

    The hardware has an integer convolution but no integer BatchNorm. Only maps along the channel axis of a
    4-D blob are turned (seed 001, 工具实现的加速优化).
    """

    name: ClassVar[str] = "depthwise-affine"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm",)
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    needs_policy: ClassVar[bool] = True
    pattern: ClassVar[str] = "(BatchNorm -> Scale? -> Bias?)|(Scale -> Bias?)|Bias"

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        said = context.record.by_name.get(node.name) if context.record is not None else None
        if said is not None and said.is_quantized:
            return "the record has factors for the layer as it is"
        layer = context.need_policy().layers.get(node.name)
        if layer is None or not layer.quant_enable.value:
            return "the quantization of its data is not switched on"
        shape = node.inputs[0].shape
        if shape is None or len(shape) != 4:
            return "its input is not a 4-D blob"
        found = affine_coefficients(node, shape[1])
        return found if isinstance(found, str) else None

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        head = match.first
        shape = head.inputs[0].shape
        channels = shape[1] if shape is not None else 0
        scale, shift = np.ones(channels), np.zeros(channels)
        for node in match.nodes:
            found = affine_coefficients(node, channels)
            if isinstance(found, str):
                raise ValueError(found)
            a, b = found
            scale, shift = a * scale, a * shift + b
        new = graph.add(
            graph.unused_name(f"{head.name}{SUFFIX}"),
            "caffe.DepthwiseConv",
            [head.inputs[0]],
            [match.last.output.blob],
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
            provenance=Provenance(head.origin, absorbed=tuple(node.name for node in match.nodes), inserted=True),
            beside=head,
        )
        new.output.shape = shape
        new.record(self.name, f"stands for {', '.join(f'{node.type} `{node.name}`' for node in match.nodes)}")
        graph.replace_uses(match.last.output, new.output)
        for node in reversed(match.nodes):
            graph.remove(node)
