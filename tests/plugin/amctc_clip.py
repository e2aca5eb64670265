"""A plug-in of amctc for a chip that has ReLU6 but no Clip: a pass, a target and a host op.

Importing the module registers all three. `pyproject.toml` names it under `amctc.plugins`, so whoever has
installed the package has them in every command; `--plugin amctc_clip.py` does without installing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import amctc
from amctc.dialects.attributes import attribute
from amctc.ir.node import Shape


@amctc.register_pass
@dataclass(frozen=True)
class ClipToRelu6(amctc.RewritePass):
    """Replace every Clip from 0 to a fixed value by a ReLU6.

    Given   x -> Clip (0 … threshold) -> y
    Result  x -> ReLU6 (threshold) -> y
    """

    name: ClassVar[str] = "clip-to-relu6"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "Clip[min=0]"
    threshold: float = amctc.option(6.0, help="where the chip's ReLU6 cuts off", least=0)

    def check(self, match: amctc.Match, context: amctc.Context) -> str | None:
        most = attribute(match.first, "max")
        return None if most == self.threshold else f"it cuts off at {most!r}, not at {self.threshold}"

    def rewrite(self, match: amctc.Match, graph: amctc.Graph, context: amctc.Context) -> None:
        clip = match.first
        name = graph.unused_name(f"{clip.name}.relu6")
        relu = graph.insert_after(
            clip.output, name, "caffe.ReLU6", attrs={"relu6_param": {"threshold": self.threshold}}
        )
        graph.bypass(clip)
        relu.record(self.name, f"takes the place of `{clip.name}`")


@amctc.register_target
class SummaryJson(amctc.Target):
    """One JSON file: the bits of the data and weights of each quantized layer."""

    name: ClassVar[str] = "summary-json"

    def emit(self, graph: amctc.Graph) -> Mapping[str, bytes]:
        layers = {
            node.name: {
                "type": node.type,
                "data": [given.bits for given in node.quant.inputs],
                "weights": node.quant.weight.bits if node.quant.weight is not None else None,
            }
            for node in graph
            if node.quant is not None
        }
        return {"summary.json": json.dumps(layers, indent=2).encode()}


def softsign(node: amctc.Node, inputs: Sequence[NDArray[Any]], shapes: Sequence[Shape]) -> NDArray[Any]:
    """y = x / (1 + |x|)."""
    result: NDArray[Any] = inputs[0] / (1 + np.abs(inputs[0]))
    return result


amctc.register_host_op("Softsign", softsign, infer=lambda node, shapes: shapes)
