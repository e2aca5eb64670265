"""GE's quant ops as the quant dialect: AscendQuant, AscendDequant, AscendAntiQuant and AscendWeightQuant.

`targets/ge` is the other direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amctc.air.data_types import CPP_NAMES, CPP_NUMBERS, NUMPY_TYPES
from amctc.air.plain_messages import plain_attribute
from amctc.air.schema import OpDef
from amctc.air.verify.edges import End
from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.ge import GE
from amctc.dialects.ge.prototype import prototype_of
from amctc.dialects.ge.slots import AIR, about
from amctc.dialects.table import op_def
from amctc.dialects.traits import output_channel_axis
from amctc.ir import Graph, Node, Provenance, Value
from amctc.ir.node import Array
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.quant.grid import grid_limits
from amctc.text.plain import Plain

WEIGHT_QUANT = "AscendWeightQuant"
ASCEND_OPS = frozenset({"AscendQuant", "AscendDequant", "AscendAntiQuant"})
_BITS = {CPP_NUMBERS["DT_INT8"]: 8, CPP_NUMBERS["DT_INT16"]: 16}


@dataclass(frozen=True)
class WeightQuant:
    """An AscendWeightQuant that gives an op its weights: the name of the Const it reads, and what else is said of it.

    `stated` has its name, and that and the size of its offset's Const, and what is left of the messages of both.
    """

    constant: str
    stated: Mapping[str, Plain]


def weight_quant(end: End, values: Mapping[tuple[str, int], Value], graph: Graph) -> WeightQuant | None:
    """The AscendWeightQuant at the end of an edge; None for any other op.

    Raises `DiagnosticError` (AM353) where it has an offset: weights are symmetric here.
    """
    value = values.get((end.node, end.index))
    if value is None or value.producer.op != f"{GE}.{WEIGHT_QUANT}":
        return None
    node = value.producer
    offset, names = node.weights.get("offset"), about(node).get("constants")
    found, beside = (names.get("x"), names.get("offset")) if isinstance(names, dict) else (None, None)
    if offset is None or offset.any() or not isinstance(found, dict) or not isinstance(beside, dict):
        message = f"the node `{node.name}` ({WEIGHT_QUANT}) has weights that are not constant, or offsets of them"
        raise error("AM353", message, help="weights have no offsets here: quantize them symmetrically")
    stated: dict[str, Plain] = {
        "name": node.name,
        "offset": beside["name"],
        "size": offset.size,
        "op": about(node).get("op", {}),
        "offset_op": beside["op"],
    }
    return WeightQuant(str(found["name"]), stated)


def ascend_node(
    graph: Graph,
    op: OpDef,
    inputs: list[Value],
    weights: Mapping[str, Array],
    air: Mapping[str, Plain],
    provenance: Provenance,
) -> Node:
    """A node of the quant dialect. Raises `DiagnosticError` (AM353) where the op is not as it should be."""
    if len(inputs) != 1 or len(op.output_desc) != 1:
        raise _wrong(op, "must read one value, and give one")
    attrs: dict[str, Plain] = {AIR: dict(air)}
    if op.type != "AscendQuant":
        attrs |= _float_type(op)
    root = bool(_stated(op, "sqrt_mode"))
    if op.type == "AscendDequant":
        blobs = {"deq_scale": _factors(op, weights.get("deq_scale"), root)}
        return graph.add(
            op.name, "quant.Dequantize", inputs, [op.name], attrs=attrs, weights=blobs, provenance=provenance
        )
    factor, offset = np.float32(_number(op, "scale")), _number(op, "offset")
    factor = factor * factor if root else factor
    bits = _BITS.get(int(_number(op, "dst_type"))) if op.type == "AscendQuant" else _bits_of(inputs[0])
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / factor
    if bits is None or not (0 < factor < np.inf and inverse < np.inf):
        raise _wrong(op, "needs a positive `scale`, and a `dst_type` of DT_INT8 or DT_INT16")
    if op.type == "AscendAntiQuant":
        # This op adds its offset.
        offset = -offset
    low, high = grid_limits(bits)
    if not low <= offset <= high or offset != int(offset):
        raise _wrong(op, f"has the offset {offset:g}, which {bits} bits do not hold")
    if op.type == "AscendQuant" and _stated(op, "round_mode") != "Round":
        raise _wrong(op, "does not round to the nearest integer")
    quantizes = op.type == "AscendQuant"
    attrs |= {"scale": float(inverse if quantizes else factor), "offset": int(offset), "bits": bits}
    return graph.add(
        op.name,
        "quant.Quantize" if quantizes else "quant.AntiQuantize",
        inputs,
        [op.name],
        attrs=attrs,
        provenance=provenance,
    )


def find_channels(graph: Graph) -> None:
    """Say of each Dequantize with factors for channels which axis these lie on, as its layer has them."""
    for node in graph.nodes:
        if node.op != "quant.Dequantize" or node.weights["deq_scale"].size == 1:
            continue
        layer = node.inputs[0].producer
        axis = output_channel_axis(layer) if op_def(layer).linear is not None else None
        if axis is not None and axis != 1:
            node.attrs["axis"] = axis


def _factors(op: OpDef, found: Array | None, root: bool) -> NDArray[np.float32]:
    """What an AscendDequant multiplies with: float32 [1] or [channels]."""
    if found is None:
        raise _wrong(op, "has no constant `deq_scale`")
    if found.dtype == np.float16:
        factors = found.astype(np.float32).reshape(-1)
    elif found.dtype == np.uint64:
        words = unpack_deq_scale(found.reshape(-1).astype(np.uint64))
        if words.shift.any() or words.offset_w.any():
            raise _wrong(op, "has a `deq_scale` with shifts or offsets, which only hardware computes with")
        factors = words.scale
    else:
        raise _wrong(op, f"has a `deq_scale` of {found.dtype}, where uint64 or float16 is expected")
    if bool(_stated(op, "relu_flag")):
        raise _wrong(op, "has `relu_flag`, which is not read: put a Relu behind it")
    return factors * factors if root else factors


def _float_type(op: OpDef) -> dict[str, Plain]:
    """What the quant dialect says of a type of floats: nothing of float32."""
    name = CPP_NAMES.get(int(_number(op, "dtype")))
    if name not in ("DT_FLOAT", "DT_FLOAT16"):
        raise _wrong(op, "needs DT_FLOAT or DT_FLOAT16 as its `dtype`")
    return {"dtype": NUMPY_TYPES[name]} if name == "DT_FLOAT16" else {}


def _bits_of(value: Value) -> int:
    return 16 if value.dtype == "int16" else 8


def _stated(op: OpDef, name: str) -> Plain | None:
    """An attribute, or the default of the op's prototype."""
    prototype = prototype_of(op.type)
    known = prototype.attributes.get(name) if prototype is not None else None
    if name in op.attr:
        return plain_attribute(op.attr[name], known.type if known is not None else None)
    return known.default if known is not None else None


def _number(op: OpDef, name: str) -> float:
    found = _stated(op, name)
    if not isinstance(found, int | float) or found != found:
        raise _wrong(op, f"needs a number as its `{name}`")
    return float(found)


def _wrong(op: OpDef, what: str) -> DiagnosticError:
    return error("AM353", f"the node `{op.name}` ({op.type}) {what}")
