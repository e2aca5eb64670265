"""AscendWeightQuant: an op between the integers of a filter and the op that reads them, which takes off their offset.

Weights are symmetric here, so that the offsets are zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amctc.air.data_types import CPP_NUMBERS
from amctc.dialects.ge.slots import WEIGHT, about
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.targets.ge.ascend import AscendForm
from amctc.text.plain import Plain

TYPE = "AscendWeightQuant"
ATTRIBUTES: Mapping[str, Plain] = {"dst_type": CPP_NUMBERS["DT_INT8"]}


@dataclass(frozen=True)
class WeightQuant:
    """One such op: its name, that of the Const that holds the offsets, these, and what a file has said of both."""

    name: str
    offset_name: str
    offset: Array
    rest: Mapping[str, Plain] | None = None
    offset_rest: Mapping[str, Plain] | None = None


def weight_quant_of(node: Node, role: str, form: AscendForm) -> WeightQuant | None:
    """The op that stands behind the weights of a node: that of its file, or a new one if the form wants them."""
    array = node.weights[role]
    if role != WEIGHT or array.dtype != np.int8 or op_def(node).linear is None:
        return None
    stated = _stated(node, role)
    if stated is None and not form.weight_quant:
        return None
    stated = stated or {}
    size = stated.get("size")
    count = size if isinstance(size, int) else _scales(node)
    name = str(stated.get("name") or f"{node.name}_weight_quant")
    offset_name = str(stated.get("offset") or f"{name}_offset")
    rest, offset_rest = stated.get("op"), stated.get("offset_op")
    return WeightQuant(
        name,
        offset_name,
        np.zeros(count, np.int8),
        rest if isinstance(rest, dict) else None,
        offset_rest if isinstance(offset_rest, dict) else None,
    )


def _stated(node: Node, role: str) -> Mapping[str, Plain] | None:
    constants = about(node).get("constants")
    entry = constants.get(role) if isinstance(constants, dict) else None
    found = entry.get("quant") if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else None


def _scales(node: Node) -> int:
    """How many scales the weights have: as many as what takes the sums back to float."""
    readers = (use.node for use in node.graph.uses(node.output))
    return next((reader.weights["deq_scale"].size for reader in readers if reader.op == "quant.Dequantize"), 1)
