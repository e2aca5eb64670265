"""The caffe dialect: the layers of BVLC Caffe at inference, and DepthwiseConv."""

from __future__ import annotations

from amctc.dialects.caffe.activation import ACTIVATION_OPS
from amctc.dialects.caffe.affine import AFFINE_OPS
from amctc.dialects.caffe.blobs import bounded
from amctc.dialects.caffe.combine import COMBINE_OPS
from amctc.dialects.caffe.convolution import CONVOLUTION_OPS
from amctc.dialects.caffe.data import DATA_OPS
from amctc.dialects.caffe.inner_product import INNER_PRODUCT_OPS
from amctc.dialects.caffe.pooling import POOLING_OPS
from amctc.dialects.op import OpDef

CAFFE_OPS: tuple[OpDef, ...] = tuple(
    bounded(row)
    for row in (
        *DATA_OPS,
        *CONVOLUTION_OPS,
        *INNER_PRODUCT_OPS,
        *POOLING_OPS,
        *AFFINE_OPS,
        *ACTIVATION_OPS,
        *COMBINE_OPS,
    )
)

__all__ = ["CAFFE_OPS"]
