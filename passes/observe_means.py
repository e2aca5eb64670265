"""observe-means: remember what the channels of the float layers give on average, for correct-bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.runtime.means import channel_means


@dataclass(frozen=True)
class ObserveMeans(Pass):
    """Remember the mean of each output channel of the layers whose weights are to be quantized, for `correct-bias`.

    One run over the calibration data, while the weights are float; the graph stays as it is. A layer with weights that
    are integers already (they are, where BatchNorm layers are folded behind `quantize-weights`) is left out.
    """

    name: ClassVar[str] = "observe-means"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm", "depthwise-affine", "equalize-layers")
    before: ClassVar[tuple[str, ...]] = ("observe", "calibrate")
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("quantize-weights", "correct-bias")
    needs_calibration: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        nodes: list[Node] = []
        for node in graph.nodes:
            if node.quant is None or node.quant.weight is None or op_def(node).linear is None:
                continue
            if node.weights[linear_trait(node).weight].dtype.kind != "f":
                context.refuse(self.name, node.name, "its weights are quantized already")
                continue
            nodes.append(node)
        if not nodes:
            return False
        calibration = context.need_calibration()
        found = channel_means(graph, nodes, calibration.batches(), calibration.progress)
        context.means.update({node.name: means for node, means in found.items()})
        context.counts["layers"] += len(found)
        return False
