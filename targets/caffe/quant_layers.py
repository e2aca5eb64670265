"""The quant dialect in Caffe's words: Quant, AntiQuant, DeQuant, IFMR and RetrainDataQuant layers.

`amctc/frontends/caffe/quant_layers.py` is the other direction. A fake-quant model computes on
centred integers held in float32 (`centered`): zero padding then means a real zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from amctc.ir import Node
from amctc.ir.node import Array
from amctc.quant.activation import ActivationSettings, settings_from_plain
from amctc.quant.deq_scale import pack_deq_scale
from amctc.quant.hfmg import HfmgSettings
from amctc.quant.observers import USUAL_OBSERVER
from amctc.targets.caffe.lookup_tables import LookupBlob
from amctc.text.plain import Plain


@dataclass(frozen=True)
class CaffeLayer:
    """One layer as the files will have it: its type, parameters and blobs."""

    type: str
    attrs: dict[str, Plain]
    blobs: Sequence[Array | LookupBlob]


_OBJECT = MappingProxyType({"layer": "object_layer", "index": "index"})
_TRAINED = MappingProxyType(
    {name: name for name in ("clip_max", "clip_min", "ifmr_init", "batch_num", "fixed_min")}
    | {"layer": "object_layer", "record_file": "record_file_path", "bits": "num_bits"}
)
"""Our attribute of a RetrainData -> the field of its parameter."""


def quant_layer(node: Node, *, fake: bool) -> CaffeLayer:
    """A node of the quant dialect for the fake-quant or the deploy model."""
    match node.op:
        case "quant.Quantize":
            factor = np.float32(1) / np.float32(_number(node, "scale"))
            return CaffeLayer("Quant", {"quant_param": _parameter(node, float(factor), fake)}, ())
        case "quant.AntiQuantize":
            return CaffeLayer("AntiQuant", {"quant_param": _parameter(node, _number(node, "scale"), fake)}, ())
        case "quant.Dequantize":
            return _dequant(node, fake)
        case "quant.Observe" if "record_file" in node.attrs:  # of a calibration model that was read
            return observer_layer(node, int(_number(node, "batch_num")), str(node.attrs["record_file"]))
        case "quant.RetrainData":
            return _retrain_data(node)
        case _:
            raise ValueError(f"{node.op} has no Caffe form")


def observer_layer(node: Node, batch_num: int, record_file: str) -> CaffeLayer:
    """The IFMR layer of an Observe node, which puts its factors into `record_file` after `batch_num` batches."""
    settings = settings_from_plain(node.attrs["settings"])
    parameter: dict[str, Plain] = {
        "with_offset": settings.with_offset,
        **_search(settings),
        "object_layer": node.attrs["layers"],
        "batch_num": batch_num,
        "record_file_path": record_file,
        "num_bits": settings.bits,
        "index": node.attrs["inputs"],
    }
    observer = node.attrs.get("observer", USUAL_OBSERVER)
    if observer != USUAL_OBSERVER:
        parameter["observer"] = observer
    return CaffeLayer("IFMR", {"ifmr_param": parameter}, ())


def _search(settings: ActivationSettings) -> dict[str, Plain]:
    if isinstance(settings, HfmgSettings):
        return {"num_of_bins": settings.num_of_bins}
    start, end = settings.search_range
    return {
        "search_range_start": start,
        "search_range_end": end,
        "search_step": settings.search_step,
        "max_percentile": settings.max_percentile,
        "min_percentile": settings.min_percentile,
    }


def _retrain_data(node: Node) -> CaffeLayer:
    parameter = {theirs: node.attrs[ours] for ours, theirs in _TRAINED.items() if ours in node.attrs}
    attrs: dict[str, Plain] = {"retrain_data_quant_param": parameter}
    if "phase" in node.attrs:
        attrs["phase"] = node.attrs["phase"]
    return CaffeLayer("RetrainDataQuant", attrs, tuple(node.weights.values()))


def _parameter(node: Node, scale: float, fake: bool) -> dict[str, Plain]:
    offset = int(_number(node, "offset"))
    parameter: dict[str, Plain] = {"with_offset": offset != 0, "scale": scale, "offset": offset}
    parameter |= {theirs: node.attrs[ours] for ours, theirs in _OBJECT.items() if ours in node.attrs}
    parameter["num_bits_d"] = int(_number(node, "bits"))
    if fake or node.attrs.get("centered"):
        parameter["centered"] = True
    return parameter


def _dequant(node: Node, fake: bool) -> CaffeLayer:
    parameter: dict[str, Plain] = {}
    if "layer" in node.attrs:
        parameter["object_layer"] = node.attrs["layer"]
    stored = node.weights.get("deq_scale")
    channel_wise = node.attrs.get("channel_wise", False) if stored is None else stored.size > 1
    parameter |= {"num_bits_w": node.attrs.get("bits", 8), "channel_wise": channel_wise}
    if stored is None:  # a prototxt is read and written without weights
        return CaffeLayer("DeQuant", {"dequant_param": parameter}, ())
    deq_scale = stored.astype(np.float32)
    if fake:
        zeros = np.zeros_like(deq_scale)
        return CaffeLayer("DeQuant", {"dequant_param": parameter}, (deq_scale, zeros, zeros))
    return CaffeLayer("DeQuant", {"dequant_param": parameter}, (pack_deq_scale(deq_scale),))


def _number(node: Node, key: str) -> float:
    value = node.attrs[key]
    if not isinstance(value, int | float):
        raise ValueError(f"{key} of {node.name!r} is not a number")
    return value
