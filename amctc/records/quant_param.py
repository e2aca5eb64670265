"""The parameter record that the SoC's model converter reads: `calibration.CalibrationParam`, text and binary."""

from __future__ import annotations

from typing import Any

import numpy as np

from amctc.ir import Graph
from amctc.quant.snq_codes import CODE_BITS
from amctc.records.factors import layer_factors
from amctc.text.message_text import message_text
from amctc.text.proto_schema import load_schema


def quant_param_record(graph: Graph) -> Any:
    """The message of a quantized graph; `quant_param_text` and `quant_param_binary` put it on disk.

    Scales are reciprocal here (1/scale_d, 1/scale_w), as the converter multiplies by them. Data of
    more than 8 bits is stored, and calculated, in 16. Weights of 4 bits are codes into tables of 16 levels; `params`
    has the tables, int8, one for each scale.
    """
    message: Any = load_schema("quant_param.proto").message("calibration.CalibrationParam")()
    message.version = 65536
    for layer in layer_factors(graph):
        entry = message.layer.add()
        entry.name = layer.node.name
        entry.calc_data_type = _stored(max(given.bits for given in layer.inputs))
        for given in layer.inputs:
            data = entry.quant_param.input.add()
            data.data_type = _stored(given.bits)
            data.scale.append(_reciprocal(given.scale))
            data.offset.append(float(given.offset))
        if layer.scale_w is not None:
            weight = entry.quant_param.weight
            weight.data_type = _stored(layer.bits_w)
            weight.scale.extend(_reciprocal(float(scale)) for scale in layer.scale_w)
        if layer.tables_w is not None:
            entry.quant_param.weight.params = layer.tables_w.tobytes()
    return message


def quant_param_text(graph: Graph) -> str:
    return message_text(quant_param_record(graph))


def quant_param_binary(graph: Graph) -> bytes:
    data: bytes = quant_param_record(graph).SerializeToString(deterministic=True)
    return data


_S4, _S8, _S16 = 0, 2, 4
"""Numbers of `calibration.DataType`."""


def _stored(bits: int) -> int:
    if bits <= CODE_BITS:
        return _S4
    return _S8 if bits <= 8 else _S16


def _reciprocal(scale: float) -> float:
    return float(np.float32(1) / np.float32(scale))
