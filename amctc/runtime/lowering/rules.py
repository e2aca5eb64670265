"""Which rule lowers which op."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.runtime.lowering import affine, elementwise, quantization
from amctc.runtime.lowering.builder import Lowering, Rule
from amctc.runtime.lowering.convolution import lower_convolution, lower_deconvolution
from amctc.runtime.lowering.detection import DETECTION_RULES
from amctc.runtime.lowering.inner_product import lower_inner_product
from amctc.runtime.lowering.kin import lower_kin, relation_of
from amctc.runtime.lowering.matrix import MATRIX_RULES
from amctc.runtime.lowering.movement import MOVEMENT_RULES
from amctc.runtime.lowering.onnx_nodes import ONNX_RULES, lower_as_it_is, lower_constant
from amctc.runtime.lowering.pooling import lower_pooling
from amctc.runtime.lowering.reduction import REDUCTION_RULES
from amctc.runtime.lowering.unary import UNARY_RULES


def _source(low: Lowering, node: Node) -> None:
    """Nothing: an input of the graph is fed."""


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Input": _source,
        "ge.Data": _source,
        "ge.Const": lower_constant,
        "caffe.Convolution": lower_convolution,
        "caffe.DepthwiseConv": lower_convolution,
        "caffe.Deconvolution": lower_deconvolution,
        "caffe.InnerProduct": lower_inner_product,
        "caffe.Pooling": lower_pooling,
        "caffe.BatchNorm": affine.lower_batch_norm,
        "caffe.Scale": affine.lower_scale,
        "caffe.Bias": affine.lower_bias,
        "caffe.ReLU": elementwise.lower_relu,
        "caffe.PReLU": elementwise.lower_prelu,
        "caffe.Sigmoid": elementwise.lower_sigmoid,
        "caffe.TanH": elementwise.lower_tanh,
        "caffe.AbsVal": elementwise.lower_absval,
        "caffe.Power": elementwise.lower_power,
        "caffe.Eltwise": elementwise.lower_eltwise,
        "caffe.Concat": elementwise.lower_concat,
        "caffe.Softmax": elementwise.lower_softmax,
        "caffe.LRN": elementwise.lower_lrn,
        "caffe.Flatten": elementwise.lower_reshape,
        "caffe.Reshape": elementwise.lower_reshape,
        "caffe.Split": elementwise.lower_identity,
        "caffe.Dropout": elementwise.lower_identity,
        **ONNX_RULES,
        "quant.Observe": quantization.lower_observe,
        "quant.Quantize": quantization.lower_quantize,
        "quant.Dequantize": quantization.lower_dequantize,
        "quant.AntiQuantize": quantization.lower_anti_quantize,
        "quant.RetrainData": quantization.lower_retrain_data,
        **UNARY_RULES,
        **MOVEMENT_RULES,
        **REDUCTION_RULES,
        **MATRIX_RULES,
        **DETECTION_RULES,
    }
)
"""Every op that ONNX can say. A node that a host op takes over is not lowered."""


def rule_of(node: Node) -> Rule:
    """The rule for a node: that of its op, for an ONNX op without one its own form. KeyError where there is none.

    A node that is like another dialect's layer is written by the rule of this.
    """
    if node.dialect == ONNX and node.op not in RULES:
        return lower_as_it_is
    if node.op not in RULES and op_def(node).likeness is not None:
        return _lower_as_kin
    return RULES[node.op]


def _lower_as_kin(low: Lowering, node: Node) -> None:
    relation = relation_of(node, [low.shapes.get(value) for value in node.inputs])
    lower_kin(low, node, rule_of(relation.node), relation)
