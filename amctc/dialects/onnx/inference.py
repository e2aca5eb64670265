"""Shapes and element types of what an ONNX node computes, by ONNX's own inference of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from amctc.dialects.onnx.attribute_proto import attribute_protos
from amctc.dialects.onnx.element_types import ONNX_TYPES, OPAQUE, numpy_type, type_name
from amctc.dialects.onnx.library import onnx_errors
from amctc.dialects.onnx.operands import OWN_ATTRIBUTES, RESULTS, operands, schema_of, split_type
from amctc.dialects.op import OpError, UnknownShape
from amctc.ir import Node, Value
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto, TypeProto

LARGEST_KNOWN = 1 << 12
"""Constants of at most this many elements are shown to the inference: sizes, axes, scales."""
_PREFIXES = ("[ShapeInferenceError] ", "[TypeInferenceError] ")
OPSET = 17
"""The opset of a graph that does not say one."""


class Inferred(NamedTuple):
    """What is known of one output: its element type (None: nothing), its shape (None: not all of it)."""

    dtype: str | None
    shape: Shape | None


def opset_of(node: Node) -> int:
    """The version of the standard opset that the node's graph is written in."""
    found = node.graph.attrs.get("opset")
    return found if isinstance(found, int) else OPSET


def version_of(node: Node) -> int | None:
    """The opset version that the node's own domain has in its graph; None where the graph does not say it."""
    domain, _ = split_type(node.type)
    if not domain:
        return opset_of(node)
    imports = node.graph.attrs.get("imports")
    for entry in imports if isinstance(imports, tuple) else ():
        name, _, version = str(entry).rpartition(" ")
        if name == domain and version.isdecimal():
            return int(version)
    return None


def infer_node(
    node: Node,
    shapes: Sequence[Shape | None],
    dtypes: Sequence[str],
    weight_dtypes: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Inferred, ...]:
    """What ONNX infers of a node's outputs for inputs of these shapes (None: unknown) and element types.

    Weights count as of the types in `weight_dtypes`, by role. Raises `OpError` where the node does not fit them.
    """
    version = version_of(node)
    if version is None or any(dtype == OPAQUE for dtype in dtypes):
        return (Inferred(None, None),) * len(node.outputs)
    known = {value: (shape, dtype) for value, shape, dtype in zip(node.inputs, shapes, dtypes, strict=True)}
    given: list[_Given | None] = []
    names: dict[Value, str] = {}
    for position, operand in enumerate(operands(node)):
        if isinstance(operand, Value):
            shape, dtype = known[operand]
            given.append(_Given(names.setdefault(operand, f"v:{position}"), dtype, shape))
        elif operand is not None:
            array = node.weights[operand]
            shown = operand not in weight_dtypes and array.size <= LARGEST_KNOWN and array.dtype.name in ONNX_TYPES
            dtype = weight_dtypes.get(operand, array.dtype.name)
            given.append(_Given(f"w:{operand}", dtype, array.shape, array.tobytes() if shown else None))
        else:
            given.append(None)
    attrs = {name: value for name, value in node.attrs.items() if name not in OWN_ATTRIBUTES}
    # A graph is asked about several times, and a network has many layers alike.
    return _answer(_Question(node.type, version, len(node.outputs), repr(attrs), tuple(given), attrs))


class _Given(NamedTuple):
    """An operand: its name, its element type, its shape (None: unknown), and its C-ordered bytes where they count."""

    name: str
    dtype: str
    shape: Shape | None
    data: bytes | None = None


@dataclass(frozen=True)
class _Question:
    """All that the inference of a node depends on; `written` is the text of its attributes, which tells 1 from 1.0."""

    type: str
    version: int
    outputs: int
    written: str
    operands: tuple[_Given | None, ...]
    attrs: Mapping[str, Plain] = field(compare=False)


@lru_cache(maxsize=4096)
def _answer(asked: _Question) -> tuple[Inferred, ...]:
    unknown = (Inferred(None, None),) * asked.outputs
    schema = schema_of(asked.type, asked.version)
    if schema is None:
        return unknown
    from onnx import helper, shape_inference
    from onnx.shape_inference import InferenceError

    types: dict[str, TypeProto] = {}
    data: dict[str, TensorProto] = {}
    for given in asked.operands:
        if given is None:
            continue
        types[given.name] = helper.make_tensor_type_proto(ONNX_TYPES.get(given.dtype, 0), given.shape)
        if given.data is not None and given.shape is not None:
            array = np.ndarray(given.shape, numpy_type(given.dtype), given.data)
            data[given.name] = _tensor(given.name, array)
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            _proto(asked),
            types,
            data,
            opset_imports=[helper.make_opsetid(split_type(asked.type)[0], asked.version)],
            ir_version=8,
        )
    except InferenceError as failure:
        raise OpError(_reason(str(failure))) from failure
    except onnx_errors():
        return unknown
    return tuple(_inferred(found.get(_output(index))) for index in range(asked.outputs))


def infer_shapes(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """`OpDef.infer` of every ONNX op. Raises `OpError` and `UnknownShape`."""
    found = infer_node(node, shapes, tuple(value.dtype for value in node.inputs))
    known = [each.shape for each in found if each.shape is not None]
    if len(known) < len(found):
        raise UnknownShape
    return tuple(known)


def infer_dtypes(node: Node) -> tuple[str, ...]:
    """`OpDef.dtypes` of every ONNX op: `opaque` for what is not known."""
    noted = node.attrs.get(RESULTS)
    if isinstance(noted, tuple):
        return tuple(map(str, noted))
    dtypes = tuple(value.dtype for value in node.inputs)
    try:
        found = infer_node(node, (None,) * len(dtypes), dtypes)
    except OpError:
        return (OPAQUE,) * len(node.outputs)
    return tuple(each.dtype or OPAQUE for each in found)


def _output(index: int) -> str:
    return f"out:{index}"


def _proto(asked: _Question) -> NodeProto:
    from onnx import NodeProto

    domain, name = split_type(asked.type)
    inputs = [given.name if given is not None else "" for given in asked.operands]
    proto = NodeProto(op_type=name, domain=domain, input=inputs, output=map(_output, range(asked.outputs)))
    proto.attribute.extend(attribute_protos(asked.attrs))
    return proto


def _inferred(found: Any) -> Inferred:
    if found is None or not found.HasField("tensor_type"):
        return Inferred(OPAQUE if found is not None and found.WhichOneof("value") else None, None)
    tensor = found.tensor_type
    dtype = type_name(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return Inferred(dtype, None)
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return Inferred(dtype, None if None in dims else tuple(dim for dim in dims if dim is not None))


def _tensor(name: str, array: Array) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array, order="C"), name)


def _reason(text: str) -> str:
    """ONNX's words without the place in its own source that they may begin with."""
    for prefix in _PREFIXES:
        text = text.replace(prefix, "")
    lines = [line for line in text.splitlines() if line.strip()]
    return f"ONNX says: {lines[0].strip()}" if lines else "ONNX cannot infer its outputs"
