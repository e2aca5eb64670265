"""The ops of the caffe dialect."""

from __future__ import annotations

from amctc.dialects.caffe.activation import ACTIVATION_OPS
from amctc.dialects.caffe.affine import AFFINE_OPS
from amctc.dialects.caffe.batch_norm import BATCH_NORM_OPS
from amctc.dialects.caffe.blobs import bounded
from amctc.dialects.caffe.combine import COMBINE_OPS
from amctc.dialects.caffe.convolution import CONVOLUTION_OPS
from amctc.dialects.caffe.data import DATA_OPS
from amctc.dialects.caffe.detection import DETECTION_OPS
from amctc.dialects.caffe.inner_product import INNER_PRODUCT_OPS
from amctc.dialects.caffe.loss import LOSS_OPS
from amctc.dialects.caffe.matrix import MATRIX_OPS
from amctc.dialects.caffe.movement import MOVEMENT_OPS
from amctc.dialects.caffe.normalize import NORMALIZE_OPS
from amctc.dialects.caffe.pooling import POOLING_OPS
from amctc.dialects.caffe.recurrent import RECURRENT_OPS
from amctc.dialects.caffe.reduction import REDUCTION_OPS
from amctc.dialects.caffe.unary import UNARY_OPS
from amctc.dialects.op import OpDef

CAFFE_OPS: tuple[OpDef, ...] = tuple(
    bounded(row)
    for row in (
        *DATA_OPS,
        *CONVOLUTION_OPS,
        *INNER_PRODUCT_OPS,
        *RECURRENT_OPS,
        *POOLING_OPS,
        *BATCH_NORM_OPS,
        *AFFINE_OPS,
        *ACTIVATION_OPS,
        *UNARY_OPS,
        *COMBINE_OPS,
        *MOVEMENT_OPS,
        *REDUCTION_OPS,
        *NORMALIZE_OPS,
        *MATRIX_OPS,
        *DETECTION_OPS,
        *LOSS_OPS,
    )
)

__all__ = ["CAFFE_OPS"]
