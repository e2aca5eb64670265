"""Which rule lowers which layer of Caffe."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.runtime.lowering import affine, elementwise
from amctc.runtime.lowering.builder import Rule
from amctc.runtime.lowering.convolution import lower_convolution, lower_deconvolution
from amctc.runtime.lowering.detection import DETECTION_RULES
from amctc.runtime.lowering.inner_product import lower_inner_product
from amctc.runtime.lowering.matrix import MATRIX_RULES
from amctc.runtime.lowering.movement import MOVEMENT_RULES
from amctc.runtime.lowering.pooling import lower_pooling
from amctc.runtime.lowering.reduction import REDUCTION_RULES
from amctc.runtime.lowering.sources import lower_source
from amctc.runtime.lowering.unary import UNARY_RULES

CAFFE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Input": lower_source,
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
        **UNARY_RULES,
        **MOVEMENT_RULES,
        **REDUCTION_RULES,
        **MATRIX_RULES,
        **DETECTION_RULES,
    }
)
