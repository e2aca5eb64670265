"""The scale and offset record as AMCT writes it for PyTorch modules: one data input a layer, and types as words.

`read_record` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from amctc.records.read_record import BITS_OF_WORD
from amctc.records.scale_record import LayerRecord
from amctc.text.message_text import message_text
from amctc.text.proto_schema import load_schema

_WORDS = {bits: word for word, bits in BITS_OF_WORD.items()}


def pytorch_record_text(layers: Iterable[LayerRecord], weightless: Collection[str] = ()) -> str:
    """The record of layers with one data input at most.

    Of the layers `weightless`, which have no weights to quantize, it says the scale 1 and the offset 0 for weights once
    anything else is known of them, as AMCT's does. Data of 9 to 15 bits are stored in 16.
    """
    made = load_schema("amct_pytorch_record.proto").message("amct_pytorch_record.ScaleOffsetRecord")
    texts: list[str] = []
    for layer in layers:
        message: Any = made()
        entry = message.record.add()
        entry.key = layer.name
        entry.value.SetInParent()
        _write(layer, entry.value, layer.name in weightless)
        texts.append(message_text(message))
    return "".join(texts)


def _write(layer: LayerRecord, value: Any, weightless: bool) -> None:
    given = layer.input(0)
    if given is not None and given.scale is not None and given.offset is not None:
        value.scale_d, value.offset_d = given.scale, given.offset
        value.act_type = _WORDS[8 if given.bits <= 8 else 16]
    if layer.scale_w:
        value.scale_w.extend(layer.scale_w)
        value.offset_w.extend(layer.offset_w or (0 for _ in layer.scale_w))
        value.wts_type = _WORDS[layer.bits_w]
    elif weightless:
        value.scale_w.append(1.0)
        value.offset_w.append(0)
    value.tensor_balance_factor.extend(layer.balance)
    if layer.skip_fusion:
        value.skip_fusion = True
    if layer.precision_mode is not None:
        value.fakequant_precision_mode = layer.precision_mode
