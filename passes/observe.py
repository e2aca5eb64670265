"""observe: put observers on the values whose range calibration must learn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.quant import settings_to_plain
from amctc.ir import Graph, Node, Provenance, Value
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.ifmr import IfmrSettings


@dataclass(frozen=True)
class Observe(Pass):
    """Insert one Observe node for every value and set of settings that an annotated layer asks for.

    A value that several layers read with equal settings is observed once, for all of them.
    """

    name: ClassVar[str] = "observe"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("calibrate",)

    def run(self, graph: Graph, context: Context) -> bool:
        groups: dict[tuple[Value, IfmrSettings], list[tuple[Node, int]]] = {}
        for node in graph.nodes:
            inputs = node.inputs
            for quant in node.quant.inputs if node.quant is not None else ():
                groups.setdefault((inputs[quant.index], quant.settings), []).append((node, quant.index))
        for (value, settings), readers in groups.items():
            first, index = readers[0]
            observer = graph.add(
                graph.unused_name(f"{first.name}.observe.{index}"),
                "quant.Observe",
                [value],
                [],
                attrs={
                    "settings": settings_to_plain(settings),
                    "layers": tuple(node.name for node, _ in readers),
                    "inputs": tuple(into for _, into in readers),
                },
                provenance=Provenance(inserted=True),
                beside=value.producer,
            )
            observer.record(self.name, f"observes `{value.blob}` for {_names(node for node, _ in readers)}")
        return bool(groups)


def _names(nodes: Iterable[Node]) -> str:
    return ", ".join(f"`{node.name}`" for node in nodes)
