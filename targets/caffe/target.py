"""The files of target `caffe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from amctc.ir import Graph
from amctc.pipeline.target import Target
from amctc.records.quant_info import quant_info
from amctc.records.quant_param import quant_param_binary, quant_param_text
from amctc.records.scale_offset import scale_offset_record
from amctc.targets.caffe.files import caffemodel, prototxt


class CaffeTarget(Target):
    """Caffe prototxt and caffemodel: the deploy model in integers, the fake-quant model in float, and their records."""

    name: ClassVar[str] = "caffe"

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The files of a quantized graph, by the end of their name (what comes after the prefix)."""
        return {
            "deploy_model.prototxt": prototxt(graph, fake=False).encode(),
            "deploy_weights.caffemodel": caffemodel(graph, fake=False),
            "fake_quant_model.prototxt": prototxt(graph, fake=True).encode(),
            "fake_quant_weights.caffemodel": caffemodel(graph, fake=True),
            "quant.json": quant_info(graph).encode(),
            "quant_param_record.txt": quant_param_text(graph).encode(),
            "quant_param_record.bin": quant_param_binary(graph),
            "scale_offset_record.txt": scale_offset_record(graph).encode(),
        }
