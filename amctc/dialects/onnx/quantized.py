"""Ops of models that are quantized already: they run as they are, and such a model is not quantized again."""

from __future__ import annotations

from dataclasses import replace

from amctc.dialects.onnx.generic import ONNX, generic_row
from amctc.dialects.op import OpDef

_TYPES = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "com.microsoft.QuantizeLinear",
    "com.microsoft.DequantizeLinear",
    "com.microsoft.QLinearAdd",
    "com.microsoft.QLinearMul",
    "com.microsoft.QLinearConcat",
    "com.microsoft.QLinearConv",
    "com.microsoft.QLinearAveragePool",
    "com.microsoft.QLinearGlobalAveragePool",
    "com.microsoft.QLinearLeakyRelu",
    "com.microsoft.QLinearSigmoid",
    "com.microsoft.QLinearSoftmax",
    "com.microsoft.QGemm",
    "com.microsoft.MatMulIntegerToFloat",
    "com.microsoft.DynamicQuantizeMatMul",
    "com.microsoft.MatMulNBits",
)

QUANTIZED_OPS: tuple[OpDef, ...] = tuple(
    replace(generic_row(f"{ONNX}.{type}"), summary="of a model that is quantized already", integer=True)
    for type in _TYPES
)
