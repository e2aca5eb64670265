"""The layers that amctc adds to a Caffe net, read back: Quant, AntiQuant, DeQuant, IFMR, RetrainDataQuant.

`targets/caffe/quant_layers.py` is the other direction. A Quant layer's `scale` multiplies, so it is
1/scale_d; an AntiQuant layer's `scale` multiplies too, so it is scale_d itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.dialects.caffe.params import params
from amctc.dialects.op import OpError
from amctc.dialects.retrain import DATA_OP
from amctc.dialects.shapes import node_error
from amctc.dialects.table import is_custom, op_def
from amctc.ir import Graph, Node
from amctc.ir.node import Array
from amctc.quant.activation import ActivationSettings, settings_to_plain
from amctc.quant.deq_scale import unpack_deq_scale
from amctc.quant.grid import FEWEST_BITS, MOST_BITS, grid_limits
from amctc.quant.hfmg import HFMG, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.text.plain import Plain

QUANT_LAYERS = MappingProxyType(
    {
        "Quant": "quant.Quantize",
        "AntiQuant": "quant.AntiQuantize",
        "DeQuant": "quant.Dequantize",
        "IFMR": "quant.Observe",
        "RetrainDataQuant": DATA_OP,
    }
)
"""Caffe layer type -> op of the quant dialect."""

_SAID = MappingProxyType(
    {"object_layer": "layer", "index": "index", "num_bits_w": "bits", "channel_wise": "channel_wise"}
)
"""What only describes where a layer comes from: the parameter's field -> our attribute."""

INTEGER_READERS = frozenset({"quant.AntiQuantize", "quant.Dequantize", "quant.Observe", "caffe.Silence"})
"""Ops that read integers and give none."""


def quant_node(node: Node) -> None:
    """Replace the Caffe parameters of a freshly read node by those of the quant dialect.

    Raises `OpError` where they describe no grid, or no observer.
    """
    if node.op == "quant.Observe":
        node.attrs = _observed(node)
        return
    if node.op == DATA_OP:
        node.attrs = _retrained(node)
        return
    dequantizes = node.op == "quant.Dequantize"
    parameter = node.attrs.get("dequant_param" if dequantizes else "quant_param")
    given: dict[str, Plain] = parameter if isinstance(parameter, dict) else {}
    said = {ours: given[theirs] for theirs, ours in _SAID.items() if theirs in given}
    if dequantizes:
        node.attrs = said
        return
    factor, offset = np.float32(_number(given.get("scale"), 1.0)), int(_number(given.get("offset"), 0))
    bits = int(_number(given.get("num_bits_d"), 8))
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / factor
    if not (0 < factor < np.inf and inverse < np.inf):
        raise OpError(f"the `scale` of `quant_param` must be a positive number, not {factor:g}")
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise OpError(f"the `num_bits_d` of `quant_param` must be {FEWEST_BITS} to {MOST_BITS}, not {bits}")
    low, high = grid_limits(bits)
    if not low <= offset <= high:
        raise OpError(f"the `offset` of `quant_param` must be {low} to {high} for {bits} bits, not {offset}")
    node.attrs = {
        "scale": float(inverse if node.op == "quant.Quantize" else factor),
        "offset": offset,
        "bits": bits,
        "centered": bool(given.get("centered", False)),
        **said,
    }


def _observed(node: Node) -> dict[str, Plain]:
    """The attributes of an Observe node, from its `ifmr_param`."""
    param = params(node, "ifmr_param")
    layers, inputs = tuple(param.object_layer), tuple(param.index)
    if not layers:
        raise OpError("its `ifmr_param` names no `object_layer`, so nobody takes the factors")
    if inputs and len(inputs) != len(layers):
        raise OpError(f"its `ifmr_param` has {len(inputs)} `index` for {len(layers)} `object_layer`")
    if not param.batch_num:
        raise OpError("the `batch_num` of `ifmr_param` must be at least 1")
    if not param.record_file_path:
        raise OpError("its `ifmr_param` has no `record_file_path`, so there is no place for the factors")
    try:
        settings = _settings(param)
    except DiagnosticError as refusal:
        told = refusal.diagnostics[0]
        raise OpError(f"in its `ifmr_param` {told.message}: {told.help}") from None
    return {
        "settings": settings_to_plain(settings),
        "layers": layers,
        "inputs": inputs or (0,) * len(layers),
        "observer": str(param.observer),
        "batch_num": int(param.batch_num),
        "record_file": str(param.record_file_path),
    }


def _settings(param: Any) -> ActivationSettings:
    if param.observer == HFMG:
        return HfmgSettings(param.num_bits, param.with_offset, param.num_of_bins)
    return IfmrSettings(
        bits=param.num_bits,
        with_offset=param.with_offset,
        max_percentile=param.max_percentile,
        min_percentile=param.min_percentile,
        search_range=(param.search_range_start, param.search_range_end),
        search_step=param.search_step,
    )


def _retrained(node: Node) -> dict[str, Plain]:
    """The attributes of a RetrainData node, from its `retrain_data_quant_param`."""
    param = params(node, "retrain_data_quant_param")
    if not FEWEST_BITS <= param.num_bits <= MOST_BITS:
        known = f"{FEWEST_BITS} to {MOST_BITS}"
        raise OpError(f"the `num_bits` of `retrain_data_quant_param` must be {known}, not {param.num_bits}")
    said: dict[str, Plain] = {}
    for clip in ("clip_max", "clip_min"):
        if param.HasField(clip):
            said[clip] = float(getattr(param, clip))
    phase = node.attrs.get("phase")
    return {
        **said,
        "ifmr_init": bool(param.ifmr_init),
        "batch_num": int(param.batch_num),
        "fixed_min": bool(param.fixed_min),
        "layer": str(param.object_layer),
        "record_file": str(param.record_file_path),
        "bits": int(param.num_bits),
        **({} if phase is None else {"phase": phase}),
    }


def misread_integers(graph: Graph) -> Iterator[Diagnostic]:
    """An error (AM324) for each layer that reads a Quant layer's integers and cannot."""
    for node in graph.nodes:
        types = {value.dtype for value in node.inputs}
        if types <= {"float32"} or is_custom(node):
            continue
        row = op_def(node)
        reads = next(value for value in node.inputs if value.dtype != "float32")
        moves = row.moves_data or row.identity
        if row.dtypes is None and row.name not in INTEGER_READERS:
            what = "which it cannot compute on"
        elif moves and len(types) > 1:
            what = f"and other inputs of other types ({', '.join(sorted(types))})"
        elif row.name == "quant.Quantize":
            what = "which are quantized already"
        else:
            continue
        message = f"reads `{reads.blob}`, integers ({reads.dtype}), {what}"
        help = "put an AntiQuant layer before it, or a DeQuant layer if they are the sums of a layer with weights"
        yield node_error("AM324", node, message, help)


def attach_deq_scale(node: Node, blobs: tuple[Array, ...]) -> None:
    """The deq_scale of a DeQuant layer: float32 in a fake-quant model, packed uint64 words in a deploy one."""
    first = blobs[0].reshape(-1)
    packed = first.dtype == np.uint64
    node.weights["deq_scale"] = unpack_deq_scale(first.astype(np.uint64)).scale if packed else first.astype(np.float32)


def _number(value: Plain | None, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
