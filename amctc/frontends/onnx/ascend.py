"""AMCT's quantized ONNX models: AscendQuant, AscendDequant and AscendAntiQuant as the quant dialect.

`targets/onnx/ascend.py` is the other direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.onnx.operands import RESULTS
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Provenance, Use, Value
from amctc.ir.node import Array
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.quant.grid import grid_limits
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import NodeProto

ASCEND_OPS = frozenset({"AscendQuant", "AscendDequant", "AscendAntiQuant"})
_BITS = {"INT8": 8, "INT16": 16}


def ascend_node(
    graph: Graph,
    proto: NodeProto,
    inputs: list[Value],
    weights: Mapping[str, Array],
    attrs: Mapping[str, Plain],
    provenance: Provenance,
) -> Node:
    """A node of the quant dialect. Raises `DiagnosticError` (AM349) where an attribute is missing or wrong."""
    if not inputs:
        raise _wrong(proto, "has no data")
    name, outputs = graph.unused_name(proto.name), list(proto.output)
    if proto.op_type == "AscendDequant":
        words = next(iter(weights.values()), None)
        if words is None or words.dtype != np.uint64:
            raise _wrong(proto, "has no `deq_scale` of type uint64")
        blobs = {"deq_scale": unpack_deq_scale(words.reshape(-1).astype(np.uint64)).scale}
        return graph.add(name, "quant.Dequantize", inputs, outputs, weights=blobs, provenance=provenance)
    factor, offset = np.float32(_number(attrs.get("scale"))), _number(attrs.get("offset", 0.0))
    bits = _BITS.get(str(attrs.get("dst_type", "INT8")))
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / factor
    if bits is None or not (0 < factor < np.inf and inverse < np.inf):
        raise _wrong(proto, "needs a positive `scale`, and a `dst_type` of INT8 or INT16")
    low, high = grid_limits(bits)
    if not low <= offset <= high or offset != int(offset):
        raise _wrong(proto, f"has the offset {offset:g}, which {bits} bits do not hold")
    quantizes = proto.op_type == "AscendQuant"
    plain: dict[str, Plain] = {"scale": float(inverse if quantizes else factor), "offset": int(offset), "bits": bits}
    op = "quant.Quantize" if quantizes else "quant.AntiQuantize"
    return graph.add(name, op, inputs, outputs, attrs=plain, provenance=provenance)


def pools_in_float(graph: Graph) -> None:
    """Bring poolings on integers, which AMCT dequantizes behind, into our form: on floats that lie on the grid.

    The average of q times the scale, less the offset, is that of (q - offset) * scale.
    """
    for node in graph.nodes:
        if node.op != "quant.Dequantize":
            continue
        pool = node.inputs[0].producer
        if op_def(pool).linear is not None or not pool.inputs:
            continue
        before = pool.inputs[0].producer
        if before.op != "quant.Quantize" or not graph.has_single_use(pool.output):
            continue
        name, use = graph.unused_name(f"{pool.name}.anti_quant"), Use(pool, 0)
        graph.insert_before([use], name, "quant.AntiQuantize", attrs=before.attrs, provenance=node.provenance)
        # Of integers ONNX says no result; of floats the node tells it alone.
        pool.attrs = {attribute: value for attribute, value in pool.attrs.items() if attribute != RESULTS}
        pool.output.blob, pool.output.dtype = node.output.blob, node.output.dtype
        graph.bypass(node)


def _number(value: Plain | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _wrong(proto: NodeProto, what: str) -> DiagnosticError:
    return error("AM349", f"the node `{proto.name}` ({proto.op_type}) {what}", help="the file is damaged")
