"""Every op of the ge dialect that has a row of its own."""

from __future__ import annotations

from amctc.dialects.ge.activation import ACTIVATION_OPS
from amctc.dialects.ge.affine import AFFINE_OPS
from amctc.dialects.ge.combine import COMBINE_OPS
from amctc.dialects.ge.data import DATA_OPS
from amctc.dialects.ge.detection import DETECTION_OPS
from amctc.dialects.ge.linear import LINEAR_OPS
from amctc.dialects.ge.movement import MOVEMENT_OPS
from amctc.dialects.ge.normalize import NORMALIZE_OPS
from amctc.dialects.ge.pooling import POOLING_OPS
from amctc.dialects.ge.recurrent import RECURRENT_OPS
from amctc.dialects.ge.reduction import REDUCTION_OPS
from amctc.dialects.op import OpDef

GE_OPS: tuple[OpDef, ...] = (
    *DATA_OPS,
    *LINEAR_OPS,
    *POOLING_OPS,
    *ACTIVATION_OPS,
    *AFFINE_OPS,
    *NORMALIZE_OPS,
    *COMBINE_OPS,
    *MOVEMENT_OPS,
    *REDUCTION_OPS,
    *DETECTION_OPS,
    *RECURRENT_OPS,
)

__all__ = ["GE_OPS"]
