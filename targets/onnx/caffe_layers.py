"""Caffe layers that the runtime leaves to Python, as far as ONNX's ops say the same.

They are for files alone: running such a layer in Python tells the user what is wrong with the data, ONNX does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from amctc.dialects.caffe.pooling import pool_geometry
from amctc.dialects.op import OpError
from amctc.ir import Node
from amctc.runtime.lowering.builder import Lowering, Rule, weight_of
from amctc.runtime.lowering.pooling import end_padding, without_outside
from amctc.runtime.lowering.rules import RULES
from amctc.targets.onnx import caffe_detection, caffe_recurrent
from amctc.targets.onnx.exported import USUAL_HELP, unsized_input


def lower_filter(low: Lowering, node: Node) -> None:
    """Compress along the batch, for each of the data inputs."""
    *data, selector = node.inputs
    flags = low.emit("Cast", [low.reshape(low.name(selector), (-1,))], to=9)
    for source, target in zip(data, node.outputs, strict=True):
        low.emit("Compress", [low.name(source), flags], low.name(target), axis=0)


def lower_reindex(low: Lowering, node: Node) -> None:
    """Gather along the batch."""
    data, index = low.inputs(node)
    low.emit("Gather", [data, low.emit("Cast", [index], to=7)], low.name(node.output), axis=0)


def lower_embed(low: Lowering, node: Node) -> None:
    """Gather of rows of the weights, and Add for the bias."""
    weight = low.constant(weight_of(node, "weight").astype(np.float32, copy=False), f"{node.name}.weight")
    bias = node.weights.get("bias")
    index = low.emit("Cast", [low.name(node.inputs[0])], to=7)
    rows = low.emit("Gather", [weight, index], None if bias is not None else low.name(node.output), axis=0)
    if bias is not None:
        constant = low.constant(bias.astype(np.float32, copy=False), f"{node.name}.bias")
        low.emit("Add", [rows, constant], low.name(node.output))


def lower_masked_pooling(low: Lowering, node: Node) -> None:
    """MaxPool with its indices, which count over the whole blob, where Caffe's count in one image."""
    g = pool_geometry(node, low.shape(node.inputs[0]))
    places = low.fresh("indices")
    low.emit_many(
        "MaxPool",
        [low.name(node.inputs[0])],
        [low.name(node.outputs[0]), places],
        kernel_shape=g.kernel,
        strides=g.stride,
        pads=(*g.pad, *end_padding(g)),
    )
    area = low.constant(np.array(g.size[0] * g.size[1], np.int64), "area")
    low.emit("Cast", [low.emit("Mod", [places, area])], low.name(node.outputs[1]), to=1)


def _is_masked(node: Node) -> bool:
    return node.op == "caffe.Pooling" and len(node.outputs) > 1


_OWN: Mapping[str, Rule] = MappingProxyType(
    {
        **caffe_recurrent.RECURRENT,
        **caffe_detection.DETECTION,
        "caffe.Filter": lower_filter,
        "caffe.BatchReindex": lower_reindex,
        "caffe.Embed": lower_embed,
    }
)


def caffe_rule(node: Node) -> Rule | None:
    """The rule that writes a layer into a file where that is another than the runtime's; None where it is not."""
    return lower_masked_pooling if _is_masked(node) else _OWN.get(node.op)


def caffe_refusal(node: Node) -> tuple[str, str] | None:
    """Why a layer has no form in ONNX, and what to do; None where it has one."""
    if node.op in caffe_recurrent.RECURRENT:
        reason = caffe_recurrent.why_not(node)
        help = f'keep the layer in float: `skip_layers: "{node.name}"` in the policy'
    else:
        reason, help = unsized_input(node) or _why_not(node), USUAL_HELP
    return None if reason is None else (reason, help)


def _why_not(node: Node) -> str | None:
    if node.op in caffe_detection.DETECTION:
        return caffe_detection.why_not(node)
    if _is_masked(node):
        return _why_no_mask(node)
    return None if node.op in _OWN or node.op in RULES else "has no form in ONNX"


def _why_no_mask(node: Node) -> str | None:
    shape = node.inputs[0].shape
    if shape is None:
        return None
    try:
        g = pool_geometry(node, shape)
    except OpError:
        return None
    if without_outside(g).out != g.out:
        return "has windows that lie wholly outside of its image, and ONNX has no index for them"
    return None
