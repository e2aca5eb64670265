"""Every op of the ge dialect that has a row of its own."""

from __future__ import annotations

from amctc.dialects.ge.activation import ACTIVATION_OPS
from amctc.dialects.ge.data import DATA_OPS
from amctc.dialects.ge.linear import LINEAR_OPS
from amctc.dialects.ge.pooling import POOLING_OPS
from amctc.dialects.op import OpDef

GE_OPS: tuple[OpDef, ...] = (*DATA_OPS, *LINEAR_OPS, *POOLING_OPS, *ACTIVATION_OPS)

__all__ = ["GE_OPS"]
