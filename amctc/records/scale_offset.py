"""The scale and offset record: `ScaleOffsetRecord` of the manual, in text form."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from amctc.ir import Graph
from amctc.records.factors import layer_factors
from amctc.text.proto_schema import load_schema


def scale_offset_record(graph: Graph) -> str:
    """The record of a quantized graph (seed 001, 量化因子记录文件说明).

    One entry a layer in graph order; `record_d` for each data input, with the input's channels,
    height and width where it is a 4-D blob; `scale_w` and `offset_w` for layers with weights only. A
    recurrent layer has a `record_d` more, for its hidden state, whose index is the number of its inputs,
    and a `scale_w` for each inner product, in the order of its blobs.
    """
    message: Any = load_schema("amct_record.proto").message("amct_record.ScaleOffsetRecord")()
    for layer in layer_factors(graph):
        entry = message.record.add()
        entry.key = layer.node.name
        if layer.scale_w is not None:
            entry.value.scale_w.extend(float(scale) for scale in layer.scale_w)
            entry.value.offset_w.extend(0 for _ in layer.scale_w)
            entry.value.num_bits_w = layer.bits_w
        for given in layer.inputs:
            factors = entry.value.record_d.add()
            factors.scale_d, factors.offset_d = given.scale, given.offset
            factors.index, factors.num_bits_d = given.index, given.bits
            if given.shape is not None and len(given.shape) == 4:
                factors.channels, factors.height, factors.width = given.shape[1:]
    return text_format.MessageToString(message, as_utf8=True)
