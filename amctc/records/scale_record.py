"""The scale and offset record as data: what it says of each layer, with the place of everything it says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.records.kv_cache import KvCacheRecord
from amctc.source import SourceFile, Span
from amctc.text.message_text import message_text
from amctc.text.proto_schema import load_schema

Places: TypeAlias = Mapping[str, tuple[Span, ...]]
"""Where each field stands that is written, by its name; a repeated one has a place for each value."""

SUFFIX = "_depthwise"
"""What the pass depthwise-affine puts behind the name of the first layer that is replaced."""

BITS = 8
"""Where a record says nothing of bits."""


@dataclass(frozen=True)
class InputRecord:
    """What a record says of one data input (`record_d`); a scale is the float32 that the file says.

    The hidden state of a recurrent layer has the index behind that of the last input. `channels`, `height` and
    `width` only describe the input.
    """

    index: int
    scale: float | None = None
    offset: int | None = None
    bits: int = BITS
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    places: Places = field(default_factory=dict[str, tuple[Span, ...]], compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    def place(self, name: str) -> Span | None:
        """Where a field stands; the whole of it where the field is not written; None where no file says it."""
        found = self.places.get(name)
        return found[-1] if found else self.span


@dataclass(frozen=True)
class LayerRecord:
    """What a record says of one layer, by its name. `span` is the place of the name.

    `cluster` are the levels of non-uniform weights, 16 for each `scale_w`; empty for any others. `balance` are the
    factors of balanced input channels (`tensor_balance_factor`), empty where none are balanced; with `balance_folded`
    the layer that gives the channels was divided by them. `precision_mode` is None for the usual one. `kv_cache` is
    about the layer's output, and None where nothing is said of it.
    """

    name: str
    inputs: tuple[InputRecord, ...] = ()
    scale_w: tuple[float, ...] = ()
    offset_w: tuple[int, ...] = ()
    bits_w: int = BITS
    skip_fusion: bool = False
    shift_bit: tuple[int, ...] = ()
    object_layer: str | None = None
    cluster: tuple[int, ...] = ()
    balance: tuple[float, ...] = ()
    balance_folded: bool = False
    precision_mode: str | None = None
    kv_cache: KvCacheRecord | None = None
    places: Places = field(default_factory=dict[str, tuple[Span, ...]], compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def is_quantized(self) -> bool:
        """Whether the layer is to be quantized: an entry may say `skip_fusion` or `kv_cache_value` alone."""
        return bool(self.inputs or self.scale_w) or not (self.skip_fusion or self.kv_cache is not None)

    def input(self, index: int) -> InputRecord | None:
        return next((found for found in self.inputs if found.index == index), None)

    def with_weights(self, scales: Iterable[float], bits: int, tables: NDArray[np.int8] | None = None) -> LayerRecord:
        """The same entry with these scales of the weights, and a table of 16 levels for each if they are clustered."""
        scale_w = tuple(float(scale) for scale in scales)
        cluster = () if tables is None else tuple(tables.ravel().tolist())
        return replace(self, scale_w=scale_w, offset_w=(0,) * len(scale_w), bits_w=bits, cluster=cluster)

    def place(self, name: str, index: int = -1) -> Span | None:
        """Where a value of a field stands; the name of the layer where the field is not written."""
        found = self.places.get(name)
        return found[index] if found else self.span


@dataclass(frozen=True)
class ScaleRecord:
    """The layers of a record, each once, in the order of the file; `source` is None where no file says them."""

    layers: tuple[LayerRecord, ...]
    source: SourceFile | None = field(default=None, compare=False, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, LayerRecord]:
        return {layer.name: layer for layer in self.layers}

    def only(self, names: Collection[str]) -> ScaleRecord:
        """The record of these layers alone, and of those that are made in their place."""
        kept = frozenset(names)
        layers = tuple(layer for layer in self.layers if kept & {layer.name, layer.name.removesuffix(SUFFIX)})
        return ScaleRecord(layers, self.source)

    @property
    def file(self) -> str | None:
        """The name of the file."""
        return self.source.name if self.source is not None else None


def record_text(layers: Iterable[LayerRecord]) -> str:
    """The record in its text form (seed 001, 量化因子记录文件说明), read back without any loss.

    The entry of a layer with clustered weights has its lists in brackets: a line for each level would make a file of
    many times the size.
    """
    made = load_schema("amct_record.proto").message("amct_record.ScaleOffsetRecord")
    texts: list[str] = []
    for layer in layers:
        message: Any = made()
        _write(layer, message.record.add())
        texts.append(message_text(message, brackets=bool(layer.cluster)))
    return "".join(texts)


def _write(layer: LayerRecord, entry: Any) -> None:
    entry.key = layer.name
    if layer.kv_cache is not None:
        entry.kv_cache_value.scale.extend(layer.kv_cache.scale)
        entry.kv_cache_value.offset.extend(layer.kv_cache.offset)
        if not (layer.is_quantized or layer.skip_fusion or layer.balance):
            return
    value = entry.value
    value.SetInParent()
    if layer.scale_w:
        value.scale_w.extend(layer.scale_w)
        value.offset_w.extend(layer.offset_w or (0 for _ in layer.scale_w))
        value.num_bits_w = layer.bits_w
    value.cluster.extend(layer.cluster)
    value.shift_bit.extend(layer.shift_bit)
    if layer.skip_fusion:
        value.skip_fusion = True
    if layer.object_layer is not None:
        value.object_layer = layer.object_layer
    value.tensor_balance_factor.extend(layer.balance)
    if layer.balance_folded:
        value.balance_folded = True
    if layer.precision_mode is not None:
        value.fakequant_precision_mode = layer.precision_mode
    for given in layer.inputs:
        factors = value.record_d.add()
        factors.index, factors.num_bits_d = given.index, given.bits
        optional = {
            "scale_d": given.scale,
            "offset_d": given.offset,
            "channels": given.channels,
            "height": given.height,
            "width": given.width,
        }
        for name, number in optional.items():
            if number is not None:
                setattr(factors, name, number)
