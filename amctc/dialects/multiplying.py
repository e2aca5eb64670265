"""A layer that multiplies each channel of a value by a number, in the words of every dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.custom import CAFFE
from amctc.dialects.ge import GE
from amctc.dialects.ge.slots import AIR, NCHW, data_format
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.onnx.operands import INITIALIZERS, role_at
from amctc.ir import Node, Provenance, Use
from amctc.ir.node import Array
from amctc.text.plain import Plain

_Form: TypeAlias = tuple[str, dict[str, Plain], dict[str, Array]]
"""The op, its attributes and its weights."""


def insert_multiplier(use: Use, name: str, constant: str, factors: NDArray[np.floating], axis: int) -> Node:
    """Put a layer in front of one input of a node that multiplies channel c of the value, on `axis`, by `factors` [C].

    The value's shape must be known. `name` is the layer's, and `constant` that of its factors where a file names them;
    they have the value's element type.
    """
    value = use.node.inputs[use.index]
    if value.shape is None:
        raise ValueError(f"the shape of {value.name!r} is not known")
    numbers = factors.astype(value.dtype)
    op, attrs, weights = _FORMS[use.node.dialect](use.node, numbers, axis, constant)
    graph = use.node.graph
    made = graph.insert_before(
        [use], graph.unused_name(name), op, attrs=attrs, weights=weights, provenance=Provenance(inserted=True)
    )
    made.output.shape, made.output.dtype = value.shape, value.dtype
    return made


def _caffe(reader: Node, factors: Array, axis: int, constant: str) -> _Form:
    return f"{CAFFE}.Scale", {"scale_param": {"axis": axis}} if axis != 1 else {}, {"scale": factors}


def _onnx(reader: Node, factors: Array, axis: int, constant: str) -> _Form:
    """A Mul; the factors of the last axis are a row, as AMCT writes them."""
    rank = len(reader.inputs[0].shape or ())
    shape = (1,) * min(rank - 1, 1) + (-1,) if axis == rank - 1 else (1,) * axis + (-1,) + (1,) * (rank - 1 - axis)
    role = role_at("Mul", 1)
    return f"{ONNX}.Mul", {INITIALIZERS: {role: constant}}, {role: factors.reshape(shape)}


def _ge(reader: Node, factors: Array, axis: int, constant: str) -> _Form:
    attrs: dict[str, Plain] = {"axis": axis, "num_axes": 1, "scale_from_blob": True}
    if data_format(reader) != NCHW:
        attrs[AIR] = {"format": data_format(reader)}
    return f"{GE}.Scale", attrs, {"scale": factors}


_FORMS: Mapping[str, Callable[[Node, Array, int, str], _Form]] = MappingProxyType({CAFFE: _caffe, ONNX: _onnx, GE: _ge})
