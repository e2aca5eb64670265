"""The ops of the onnx dialect."""

from __future__ import annotations

from amctc.dialects.onnx.data import DATA_OPS
from amctc.dialects.onnx.elementwise import ELEMENTWISE_OPS
from amctc.dialects.onnx.linear import LINEAR_OPS
from amctc.dialects.onnx.movement import MOVEMENT_OPS
from amctc.dialects.onnx.quantized import QUANTIZED_OPS
from amctc.dialects.onnx.recurrent import RECURRENT_OPS
from amctc.dialects.op import OpDef

ONNX_OPS: tuple[OpDef, ...] = (*DATA_OPS, *LINEAR_OPS, *RECURRENT_OPS, *ELEMENTWISE_OPS, *MOVEMENT_OPS, *QUANTIZED_OPS)

__all__ = ["ONNX_OPS"]
