"""The files of target `ge`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from amctc.air.files import air_bytes
from amctc.air.verify import check_air
from amctc.dialects.traits import quantizes_inside
from amctc.ir import Graph
from amctc.pipeline.options import option
from amctc.pipeline.target import Target
from amctc.records.quant_info import quant_info
from amctc.records.scale_offset import scale_offset_record
from amctc.targets.ge.ascend import AscendForm, check_form
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.model import model_message


@dataclass(frozen=True)
class GeTarget(Target):
    """Ascend's Graph Engine: the quantized graph as a `.air` file, and its record.

    A graph that no pass has quantized gives one float graph.
    """

    name: ClassVar[str] = "ge"
    weight_quant: bool = option(False, help="an AscendWeightQuant op behind each integer filter")
    sqrt_mode: bool = option(True, help="the roots of scales that leave the range of float16, which some chips hold")

    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The files of a graph, by the end of their name."""
        written = in_ge(graph)
        form = AscendForm(weight_quant=self.weight_quant, sqrt_mode=self.sqrt_mode)
        check_form(written, form)
        model = model_message(written, form)
        check_air(model)
        content = air_bytes(model)
        if not any(node.dialect == "quant" or node.quant is not None or quantizes_inside(node) for node in graph.nodes):
            return {"model.air": content}
        return {
            "deploy_model.air": content,
            "quant.json": quant_info(graph).encode(),
            "scale_offset_record.txt": scale_offset_record(graph).encode(),
        }
