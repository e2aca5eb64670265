"""The model to be trained: a Caffe net of both phases, with the layers that quantize data and weights in training.

The net is written layer by layer as its file has it, so that layers of either phase, and their rules, stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.dialects.retrain import WEIGHT_PARAMETER, data_quantizers, initial_clips
from amctc.frontends.caffe.layer_def import LayerDef
from amctc.frontends.caffe.net import NetFile
from amctc.frontends.caffe.net_state import NetState
from amctc.ir import Graph, Node
from amctc.ir.node import Array
from amctc.targets.caffe.files import write_blob
from amctc.targets.caffe.quant_layers import quant_layer
from amctc.text.plain import Plain, plain_to_text
from amctc.text.proto_schema import load_schema

LAYER_TYPE = "RetrainDataQuant"

_STATES = (NetState("TRAIN"), NetState("TEST"))
_RULES = ("include", "exclude")

_Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class RetrainFiles:
    """The content of the two files of a model to be trained, and the layers that quantize data in it."""

    prototxt: str
    caffemodel: bytes
    quantizers: tuple[str, ...]


@dataclass
class _Quantizer:
    """A layer that quantizes one value for all its readers, and stands before the first of them; `node` is its kind."""

    node: Node
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
        (field, said), *_ = quant_layer(self.node, fake=False).attrs.items()
        parameter = dict(said) if isinstance(said, dict) else {}
        readers = dict.fromkeys(self.readers)
        entry[field] = {**parameter, "object_layer": "-".join(readers), "record_file_path": record_file}
        return entry


def retrain_files(
    file: NetFile, weights: Mapping[str, tuple[Array, ...]], graph: Graph, record_file: str
) -> RetrainFiles:
    """The files of a model that is to be trained; `graph` is its phase TEST as insert-retrain-quant makes it.

    `weights` are the blobs of each layer before the training. Layers share a quantizer where the graph lets them, and
    they read one value in the other phase too, under the same rules.
    """
    by_layer = _quantizers(file, {node.name: data_quantizers(node) for node in graph.nodes})
    quantizers = list({id(each): each for of_layer in by_layer.values() for each in of_layer.values()}.values())
    _name(quantizers, file.layers)
    return RetrainFiles(
        _text(file, by_layer, graph, record_file),
        _weights(file, quantizers, weights),
        tuple(dict.fromkeys(each.name for each in quantizers)),
    )


def _quantizers(file: NetFile, trained: Mapping[str, Mapping[int, Node]]) -> dict[int, dict[int, _Quantizer]]:
    """The quantizers of each layer that has some, by the layer's number in the file and that of the bottom.

    A value is told by the layers that made it in either phase: a blob is written again by layers that work in place,
    and by other layers in the other phase.
    """
    states = tuple(file.stated(state) for state in _STATES)
    makers: tuple[dict[str, int], ...] = tuple({} for _ in states)
    made: dict[_Key, _Quantizer] = {}
    found: dict[int, dict[int, _Quantizer]] = {}
    for number, layer in enumerate(file.layers):
        there = tuple(state.keeps(layer.attrs) for state in states)
        for index, node in trained.get(layer.name, {}).items() if any(there) else ():
            blob = layer.bottoms[index].name
            versions = tuple(known.get(blob) if here else None for known, here in zip(makers, there, strict=True))
            rules = {name: layer.attrs[name] for name in _RULES if name in layer.attrs}
            in_place = any(top.name == blob for top in layer.tops)
            key = (node.name, blob, versions, repr(rules), number if in_place else None)
            if key not in made:
                phases = frozenset(state.phase for state, here in zip(states, there, strict=True) if here)
                made[key] = _Quantizer(node, blob, rules, phases, in_place)
            made[key].readers.append(layer.name)
            found.setdefault(number, {})[index] = made[key]
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


def _text(file: NetFile, by_layer: Mapping[int, Mapping[int, _Quantizer]], graph: Graph, record_file: str) -> str:
    layers: list[Plain] = []
    written: set[int] = set()
    for number, layer in enumerate(file.layers):
        quantizers = by_layer.get(number, {})
        for quantizer in quantizers.values():
            if id(quantizer) not in written:
                written.add(id(quantizer))
                layers.append(quantizer.layer(record_file))
        layers.append(_layer(file, layer, quantizers, graph))
    net: dict[str, Plain] = {"name": file.name} if file.name else {}
    net |= file.attrs
    net["layer"] = tuple(layers)
    return plain_to_text(net, caffe_schema().descriptor(NET))


def _layer(file: NetFile, layer: LayerDef, quantizers: Mapping[int, _Quantizer], graph: Graph) -> dict[str, Plain]:
    entry: dict[str, Plain] = {"name": layer.name, "type": layer.type}
    bottoms = [bottom.name for bottom in layer.bottoms]
    for index, quantizer in quantizers.items():
        bottoms[index] = quantizer.top
    if bottoms:
        entry["bottom"] = tuple(bottoms)
    if layer.tops:
        entry["top"] = tuple(top.name for top in layer.tops)
    # Caffe writes the phase of the training run into every layer of a snapshot; it is not the layer's own.
    entry |= {name: value for name, value in layer.attrs.items() if not (file.binary and name == "phase")}
    if quantizers and WEIGHT_PARAMETER in graph.node(layer.name).attrs:
        entry[WEIGHT_PARAMETER] = graph.node(layer.name).attrs[WEIGHT_PARAMETER]
    return entry


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
        clips = initial_clips(quantizer.node.attrs)
        yield name, LAYER_TYPE, tuple(np.asarray(clip) for clip in clips.values())
