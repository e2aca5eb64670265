"""The model to be trained: a Caffe net of both phases, with the layers that quantize data and weights in training.

The net is written layer by layer as its file has it, so that layers of either phase, and their rules, stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from amctc.diagnostics import Collector
from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.dialects.retrain import WEIGHT_PARAMETER, initial_clips
from amctc.dialects.traits import linear_trait
from amctc.frontends.caffe.layer_def import LayerDef
from amctc.frontends.caffe.net import NetFile, read_net_file
from amctc.frontends.caffe.net_state import NetState
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.targets.caffe.files import write_blob
from amctc.text.plain import Plain, plain_to_text
from amctc.text.proto_schema import load_schema

LAYER_TYPE = "RetrainDataQuant"

_STATES = (NetState("TRAIN"), NetState("TEST"))
_RULES = ("include", "exclude")

_Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class TrainedLayer:
    """How one layer is trained. `clip_max` and `clip_min` are both said, or both left to be learned."""

    clip_max: float | None
    clip_min: float | None
    fixed_min: bool
    bits: int
    channel_wise: bool
    weight_bits: int

    @property
    def of_data(self) -> _Key:
        """What layers must agree in to share a quantizer of data."""
        return (self.clip_max, self.clip_min, self.fixed_min, self.bits)


@dataclass(frozen=True)
class RetrainFiles:
    """The content of the two files of a model to be trained, and the layers that quantize data in it."""

    prototxt: str
    caffemodel: bytes
    quantizers: tuple[str, ...]


@dataclass
class _Quantizer:
    """A layer that quantizes one value for all its readers, and stands before the first of them."""

    how: TrainedLayer
    blob: str
    rules: dict[str, Plain]
    phases: frozenset[str]
    in_place: bool
    readers: list[str] = field(default_factory=list[str])
    name: str = ""
    top: str = ""

    def layer(self, record_file: str) -> dict[str, Plain]:
        entry: dict[str, Plain] = {"name": self.name, "type": LAYER_TYPE, "bottom": self.blob, "top": self.top}
        entry |= self.rules
        entry["retrain_data_quant_param"] = self.parameter(record_file)
        return entry

    def parameter(self, record_file: str) -> dict[str, Plain]:
        said = {"clip_max": self.how.clip_max, "clip_min": self.how.clip_min}
        clips: dict[str, Plain] = {name: value for name, value in said.items() if value is not None}
        rest: dict[str, Plain] = {
            "ifmr_init": self.how.clip_max is None,
            "fixed_min": self.how.fixed_min,
            "object_layer": "-".join(self.readers),
            "record_file_path": record_file,
            "num_bits": self.how.bits,
        }
        return clips | rest


def retrain_files(
    model: str | Path, weights: str | Path, trained: Mapping[str, tuple[Node, TrainedLayer]], record_file: str
) -> RetrainFiles:
    """The files of a model that is to be trained; `trained` has the layers of phase TEST that are quantized.

    Layers that read one value under the same rules, with equal settings, share a quantizer. Raises `DiagnosticError`
    as reading the files does.
    """
    file = read_net_file(model, Collector())
    by_layer = _quantizers(file, {name: how for name, (_, how) in trained.items()})
    quantizers = list({id(each): each for each in by_layer.values()}.values())
    _name(quantizers, file.layers)
    return RetrainFiles(
        _text(file, by_layer, trained, record_file),
        _weights(file, quantizers, read_weights(weights)),
        tuple(dict.fromkeys(each.name for each in quantizers)),
    )


def _quantizers(file: NetFile, trained: Mapping[str, TrainedLayer]) -> dict[int, _Quantizer]:
    """The quantizer of each layer that has one, by the layer's number in the file.

    A value is told by the layers that made it in either phase: a blob is written again by layers that work in place,
    and by other layers in the other phase.
    """
    states = tuple(file.stated(state) for state in _STATES)
    makers: tuple[dict[str, int], ...] = tuple({} for _ in states)
    made: dict[_Key, _Quantizer] = {}
    found: dict[int, _Quantizer] = {}
    for number, layer in enumerate(file.layers):
        there = tuple(state.keeps(layer.attrs) for state in states)
        how = trained.get(layer.name)
        if how is not None and layer.bottoms and any(there):
            blob = layer.bottoms[0].name
            versions = tuple(known.get(blob) if here else None for known, here in zip(makers, there, strict=True))
            rules = {name: layer.attrs[name] for name in _RULES if name in layer.attrs}
            in_place = any(top.name == blob for top in layer.tops)
            key = (blob, versions, repr(rules), how.of_data, number if in_place else None)
            if key not in made:
                phases = frozenset(state.phase for state, here in zip(states, there, strict=True) if here)
                made[key] = _Quantizer(how, blob, rules, phases, in_place)
            made[key].readers.append(layer.name)
            found[number] = made[key]
        for known, here in zip(makers, there, strict=True):
            if here:
                known.update((top.name, number) for top in layer.tops)
    return found


def _name(quantizers: Sequence[_Quantizer], layers: Sequence[LayerDef]) -> None:
    """Give each quantizer a name and a top that no other layer of its phases has.

    In the other phase a name may come again: the two are one layer then, with the same clips.
    """
    taken = {layer.name for layer in layers} | {top.name for layer in layers for top in layer.tops}
    used: dict[str, frozenset[str]] = {}
    for quantizer in quantizers:
        wanted = f"{quantizer.readers[0]}.retrain_data"
        name, count = wanted, 0
        while name in taken or used.get(name, frozenset()) & quantizer.phases:
            count += 1
            name = f"{wanted}_{count}"
        used[name] = used.get(name, frozenset()) | quantizer.phases
        quantizer.name = name
        quantizer.top = quantizer.blob if quantizer.in_place else name


def _text(
    file: NetFile,
    by_layer: Mapping[int, _Quantizer],
    trained: Mapping[str, tuple[Node, TrainedLayer]],
    record_file: str,
) -> str:
    layers: list[Plain] = []
    written: set[int] = set()
    for number, layer in enumerate(file.layers):
        quantizer = by_layer.get(number)
        if quantizer is not None and id(quantizer) not in written:
            written.add(id(quantizer))
            layers.append(quantizer.layer(record_file))
        layers.append(_layer(file, layer, quantizer, trained))
    net: dict[str, Plain] = {"name": file.name} if file.name else {}
    net |= file.attrs
    net["layer"] = tuple(layers)
    return plain_to_text(net, caffe_schema().descriptor(NET))


def _layer(
    file: NetFile,
    layer: LayerDef,
    quantizer: _Quantizer | None,
    trained: Mapping[str, tuple[Node, TrainedLayer]],
) -> dict[str, Plain]:
    entry: dict[str, Plain] = {"name": layer.name, "type": layer.type}
    bottoms = [bottom.name for bottom in layer.bottoms]
    if quantizer is not None:
        bottoms[0] = quantizer.top
    if bottoms:
        entry["bottom"] = tuple(bottoms)
    if layer.tops:
        entry["top"] = tuple(top.name for top in layer.tops)
    # Caffe writes the phase of the training run into every layer of a snapshot; it is not the layer's own.
    entry |= {name: value for name, value in layer.attrs.items() if not (file.binary and name == "phase")}
    if quantizer is not None:
        entry[WEIGHT_PARAMETER] = _weight_parameter(*trained[layer.name])
    return entry


def _weight_parameter(node: Node, how: TrainedLayer) -> dict[str, Plain]:
    trait = linear_trait(node)
    weight, channels = node.weights[trait.weight], trait.out_channels(node)
    kernel = weight.shape[2:]
    return {
        "cout": channels,
        "cin": weight.size // max(1, channels * math.prod(kernel)),
        "h": kernel[0] if kernel else 1,
        "w": math.prod(kernel[1:]),
        "layer_type": node.type,
        "channel_wise": how.channel_wise,
        "with_offset": False,
        "num_bits": how.weight_bits,
    }


def _weights(file: NetFile, quantizers: Sequence[_Quantizer], found: Mapping[str, tuple[Array, ...]]) -> bytes:
    """The weights as they were, and the clips behind them: those of the config, or 0, which stands for none."""
    types = {layer.name: layer.type for layer in file.layers}
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    message.name = file.name
    for name, kind, blobs in (*_old(types, found), *_clips(quantizers)):
        entry = message.layer.add()
        entry.name, entry.type = name, kind
        for blob in blobs:
            write_blob(entry.blobs.add(), blob)
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _old(
    types: Mapping[str, str], found: Mapping[str, tuple[Array, ...]]
) -> Iterator[tuple[str, str, tuple[Array, ...]]]:
    for name, blobs in found.items():
        yield name, types.get(name, ""), blobs


def _clips(quantizers: Sequence[_Quantizer]) -> Iterator[tuple[str, str, tuple[Array, ...]]]:
    for name, quantizer in {each.name: each for each in quantizers}.items():
        clips = initial_clips(quantizer.parameter(""))
        yield name, LAYER_TYPE, tuple(np.asarray(clip) for clip in clips.values())
