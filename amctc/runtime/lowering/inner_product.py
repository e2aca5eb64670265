"""InnerProduct."""

from __future__ import annotations

from amctc.dialects.caffe.inner_product import PARAMETER, flat_sizes
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.lowering.integer import multiply_integers, reads_integers


def lower_inner_product(low: Lowering, node: Node) -> None:
    """Gemm between reshapes; behind a Quantize, MatMulInteger."""
    param = params(node, PARAMETER)
    source, target = node.inputs[0], node.output
    _, rows, inner = flat_sizes(node, low.shape(source))
    if reads_integers(low, node):
        multiply_integers(low, node, (rows, inner))
        return
    flat = low.name(source)
    if low.shape(source) != (rows, inner):
        flat = low.reshape(flat, (rows, inner))
    operands = [flat, *low.linear_operands(low, node)]
    direct = low.shape(target) == (rows, int(param.num_output))
    result = low.emit("Gemm", operands, low.name(target) if direct else None, transB=0 if param.transpose else 1)
    if not direct:
        low.reshape(result, low.shape(target), low.name(target))
