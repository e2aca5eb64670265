"""Every op of the ge dialect that has a row of its own."""

from __future__ import annotations

from amctc.dialects.ge.activation import ACTIVATION_OPS
from amctc.dialects.ge.arithmetic import ARITHMETIC_OPS
from amctc.dialects.ge.concat_split import CONCAT_SPLIT_OPS
from amctc.dialects.ge.data import DATA_OPS
from amctc.dialects.ge.elementwise import ELEMENTWISE_OPS
from amctc.dialects.ge.linear import LINEAR_OPS
from amctc.dialects.ge.normalization import NORMALIZATION_OPS
from amctc.dialects.ge.pooling import POOLING_OPS
from amctc.dialects.ge.reductions import REDUCTIONS
from amctc.dialects.ge.resize import RESIZE_OPS
from amctc.dialects.ge.selection import SELECTION_OPS
from amctc.dialects.ge.standins import STAND_INS
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
    *NORMALIZATION_OPS,
    *CONCAT_SPLIT_OPS,
    *SELECTION_OPS,
    *REDUCTIONS,
    *RESIZE_OPS,
    *STAND_INS,
)

__all__ = ["GE_OPS"]
