"""The files of target `caffe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products
from amctc.ir import Graph
from amctc.pipeline.target import Target
from amctc.records.quant_info import quant_info
from amctc.records.quant_param import quant_param_binary, quant_param_text
from amctc.records.scale_offset import scale_offset_record
from amctc.targets.caffe.files import caffemodel, prototxt
from amctc.targets.caffe.from_onnx import in_caffe


class CaffeTarget(Target):
    """Caffe prototxt and caffemodel: the deploy model in integers, the fake-quant model in float, and their records.

    A graph that no pass has quantized gives one float model. What came from ONNX is written as the Caffe layers that
    say the same.
    """

    name: ClassVar[str] = "caffe"

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The files of a graph, by the end of their name (what comes after the prefix).

        Raises `DiagnosticError` (AM713) for nodes of an ONNX graph that Caffe has no layers for.
        """
        net = in_caffe(graph)
        if not _is_quantized(net):
            return {"model.prototxt": prototxt(net).encode(), "model.caffemodel": caffemodel(net, fake=False)}
        return {
            "deploy_model.prototxt": prototxt(net, fake=False).encode(),
            "deploy_weights.caffemodel": caffemodel(net, fake=False),
            "fake_quant_model.prototxt": prototxt(net, fake=True).encode(),
            "fake_quant_weights.caffemodel": caffemodel(net, fake=True),
            "quant.json": quant_info(net).encode(),
            "quant_param_record.txt": quant_param_text(net).encode(),
            "quant_param_record.bin": quant_param_binary(net),
            "scale_offset_record.txt": scale_offset_record(net).encode(),
        }


def _is_quantized(graph: Graph) -> bool:
    """Whether a pass has quantized the graph, or it was read from a quantized model."""
    for node in graph.nodes:
        recurrent = op_def(node).recurrent
        if node.dialect == "quant" or node.quant is not None or op_def(node).integer:
            return True
        if recurrent is not None and recurrent.is_quantized(node):
            return True
        weights = (node.weights.get(product.weight) for product in inner_products(node))
        if any(weight is not None and weight.dtype.kind != "f" for weight in weights):
            return True
    return False
