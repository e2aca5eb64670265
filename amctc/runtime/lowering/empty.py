"""Nodes whose outputs have no elements, which many ONNX Runtime kernels refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule


def unless_empty(rules: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The rules, each used only where its node has something to compute; else the outputs are empty constants."""
    return MappingProxyType({op: _guarded(rule) for op, rule in rules.items()})


def _guarded(rule: Rule) -> Rule:
    def lower(low: Lowering, node: Node) -> None:
        if any(math.prod(low.shape(value)) for value in node.outputs):
            rule(low, node)
            return
        for value in node.outputs:
            nothing = np.zeros(low.shape(value), np.float32)
            low.emit("Identity", [low.constant(nothing, f"{node.name}.nothing")], low.name(value))

    return lower
