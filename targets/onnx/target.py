"""The files of target `onnx`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from amctc.diagnostics import error
from amctc.dialects.ge import GE
from amctc.dialects.traits import grids_inside, quantizes_inside
from amctc.ir import Graph, Node
from amctc.pipeline.emission import Emission
from amctc.pipeline.options import option
from amctc.pipeline.target import Target
from amctc.quant.nibbles import PACKED
from amctc.records.quant_info import quant_info
from amctc.records.scale_offset import scale_offset_record
from amctc.targets.onnx.external import model_files
from amctc.targets.onnx.metadata import describe
from amctc.targets.onnx.model import deploy_model, fake_quant_model, float_model, qdq_model
from amctc.targets.onnx.tail import outputs_without_tail
from amctc.targets.onnx.version import in_opset

if TYPE_CHECKING:
    from onnx import ModelProto

USUAL = 8
"""Bits of data that every opset has a type for."""


@dataclass(frozen=True)
class OnnxTarget(Target):
    """ONNX: the deploy model for ATC, the fake-quant model in float, the model of Q/DQ pairs, and their records.

    A graph that no pass has quantized gives one float model; of GE graphs there is no other. Data and weights of the
    deploy model are integers, and its Ascend ops are such that ONNX Runtime does not run it; the others any runtime
    runs. The model of pairs is what ONNX Runtime runs in integers.
    """

    name: ClassVar[str] = "onnx"
    opset: int = option(0, help="the opset of the fake-quant and the Q/DQ model; 0: that of the source", least=0)
    external_data: bool = option(False, help="weights in a file of their own beside each model")
    tail: bool = option(True, help="keep what stands behind the last quantized layers, in float")
    unsigned: bool = option(True, help="data of the Q/DQ model as unsigned integers, which x86 kernels are fastest on")

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The files of a graph, by the end of their name."""
        return self.emit_with(graph, Emission())

    def emit_with(self, graph: Graph, emission: Emission) -> Mapping[str, bytes]:
        """The same, with what the models tell of how they came to be."""
        models = self._models(graph)
        files: dict[str, bytes] = {}
        for ending, model in models.items():
            describe(model, graph, emission, ending.removesuffix("_model.onnx") if len(models) > 1 else None)
            files |= model_files(model, ending, emission.prefix, external=self.external_data)
        if len(models) > 1:
            files["quant.json"] = quant_info(graph).encode()
            files["scale_offset_record.txt"] = scale_offset_record(graph).encode()
        return files

    def _models(self, graph: Graph) -> dict[str, ModelProto]:
        if not any(node.dialect == "quant" or node.quant is not None or quantizes_inside(node) for node in graph.nodes):
            return {"model.onnx": in_opset(float_model(graph), self.opset)}
        if any(node.dialect == GE for node in graph.nodes):
            help = "write it for the target `ge`; `amctc export` writes the float graph as ONNX"
            raise error(
                "AM710", "of GE graphs only float ones are written as ONNX models, and this is quantized", help=help
            )
        wide = any(_has_new_types(node) for node in graph.nodes)
        outputs = None if self.tail else outputs_without_tail(graph)
        return {
            "deploy_model.onnx": deploy_model(graph, outputs),
            "fake_quant_model.onnx": in_opset(fake_quant_model(graph, outputs), self.opset),
            "qdq_model.onnx": in_opset(qdq_model(graph, outputs, unsigned=self.unsigned), self.opset, wide=wide),
        }


def _has_new_types(node: Node) -> bool:
    """Whether a layer's data have 16 bits, or its weights 4: types that Q/DQ pairs have had only since opset 21."""
    if node.op == "quant.Quantize":
        return int(str(node.attrs["bits"])) > USUAL
    if quantizes_inside(node) and any(grid.bits > USUAL for grid in grids_inside(node).operands.values()):
        return True
    weight = node.quant.weight if node.quant is not None else None
    return weight is not None and weight.bits == PACKED and weight.clustering is None
