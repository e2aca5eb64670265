"""Every op of the ge dialect that has a row of its own."""

from __future__ import annotations

from amctc.dialects.ge.activation import ACTIVATION_OPS
from amctc.dialects.ge.affine import AFFINE_OPS
from amctc.dialects.ge.arithmetic import ARITHMETIC_OPS
from amctc.dialects.ge.batch_norms import NORM_OPS
from amctc.dialects.ge.combine import COMBINE_OPS
from amctc.dialects.ge.concat_split import CONCAT_SPLIT_OPS
from amctc.dialects.ge.data import DATA_OPS
from amctc.dialects.ge.detection import DETECTION_OPS
from amctc.dialects.ge.elementwise import ELEMENTWISE_OPS
from amctc.dialects.ge.linear import LINEAR_OPS
from amctc.dialects.ge.movement import MOVEMENT_OPS
from amctc.dialects.ge.normalize import NORMALIZE_OPS
from amctc.dialects.ge.pooling import POOLING_OPS
from amctc.dialects.ge.recurrent import RECURRENT_OPS
from amctc.dialects.ge.reduce_ops import REDUCE_OPS
from amctc.dialects.ge.reduction import REDUCTION_OPS
from amctc.dialects.ge.resize import RESIZE_OPS
from amctc.dialects.ge.selection import SELECTION_OPS
from amctc.dialects.ge.windows import WINDOW_OPS
from amctc.dialects.op import OpDef

GE_OPS: tuple[OpDef, ...] = (
    *DATA_OPS,
    *LINEAR_OPS,
    *POOLING_OPS,
    *WINDOW_OPS,
    *ACTIVATION_OPS,
    *ELEMENTWISE_OPS,
    *ARITHMETIC_OPS,
    *AFFINE_OPS,
    *NORMALIZE_OPS,
    *NORM_OPS,
    *COMBINE_OPS,
    *CONCAT_SPLIT_OPS,
    *MOVEMENT_OPS,
    *SELECTION_OPS,
    *REDUCTION_OPS,
    *REDUCE_OPS,
    *RESIZE_OPS,
    *DETECTION_OPS,
    *RECURRENT_OPS,
)

__all__ = ["GE_OPS"]
