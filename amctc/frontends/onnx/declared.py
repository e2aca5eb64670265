"""What a model's file says of the types and shapes of its values, and what follows from that.

ONNX infers the whole model at once, but not with sizes that are computed: to follow these it takes time and memory by
the lengths of vectors that any small file may claim. That is done here node by node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amctc.dialects.onnx.conversion import without_large
from amctc.dialects.onnx.element_types import ONNX_TYPES, OPAQUE, type_name
from amctc.dialects.onnx.inference import LARGEST_KNOWN
from amctc.dialects.onnx.library import onnx_errors
from amctc.dialects.onnx.operands import joined_type, schema_of
from amctc.frontends.onnx.shape_values import Size, Sizes, reshaped_sizes
from amctc.ir.node import Array
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, TypeProto


class Declared:
    """Types and sizes by the names of values: those of the file, and those that `follow` has inferred."""

    def __init__(self, model: ModelProto, opsets: Mapping[str, int]) -> None:
        self._opsets = opsets
        self._types: dict[str, Any] = {}
        for graph in (_inferred(model).graph, model.graph):
            for value in (*graph.value_info, *graph.output, *graph.input):
                if value.type.WhichOneof("value") == "tensor_type":
                    self._types.setdefault(value.name, value.type.tensor_type)
        self._followed: dict[str, tuple[str | None, Sizes | None]] = {}

    def dtype(self, name: str) -> str | None:
        """The element type of a value; None where it is not known."""
        if name in self._followed and self._followed[name][0] is not None:
            return self._followed[name][0]
        found = self._types.get(name)
        known = None if found is None or not found.elem_type else type_name(found.elem_type)
        return None if known == OPAQUE else known

    def sizes(self, name: str) -> Sizes | None:
        """The size of each axis of a value; None where not even their number is known."""
        if name in self._followed and self._followed[name][1] is not None:
            return self._followed[name][1]
        found = self._types.get(name)
        if found is None or not found.HasField("shape"):
            return None
        return tuple(_size(dim, f"{name}#{axis}") for axis, dim in enumerate(found.shape.dim))

    def plain_shape(self, value: Any) -> tuple[Plain, ...]:
        """The declared shape of an input or output: a number, or the axis's name (`?` where it has none)."""
        dims = value.type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.dim_value > 0 else (dim.dim_param or "?") for dim in dims)

    def follow(self, proto: NodeProto, constants: Mapping[str, Array], computed: Mapping[str, Sizes]) -> None:
        """Infer what a node gives. `computed` are vectors of sizes that the file computes from shapes."""
        if _reshapes(proto) and proto.input[1] in computed:
            source, sizes = self.sizes(proto.input[0]), computed[proto.input[1]]
            self._followed[proto.output[0]] = self.dtype(proto.input[0]), reshaped_sizes(sizes, source, proto.output[0])
            return
        for name, found in zip(proto.output, self._inferred(proto, constants), strict=False):
            if name and found.HasField("tensor_type"):
                tensor = found.tensor_type
                dtype = type_name(tensor.elem_type) if tensor.elem_type else None
                dims = [_size(dim, f"{name}#{axis}") for axis, dim in enumerate(tensor.shape.dim)]
                self._followed[name] = dtype, tuple(dims) if tensor.HasField("shape") else None

    def _inferred(self, proto: NodeProto, constants: Mapping[str, Array]) -> Sequence[TypeProto]:
        from onnx import NodeProto, helper, numpy_helper, shape_inference

        domain = "" if proto.domain == "ai.onnx" else proto.domain
        version = self._opsets.get(proto.domain, self._opsets.get(domain))
        schema = schema_of(joined_type(domain, proto.op_type), version) if version is not None else None
        if schema is None:
            return ()
        types: dict[str, TypeProto] = {}
        data: dict[str, TensorProto] = {}
        for name in dict.fromkeys(name for name in proto.input if name):
            array = constants.get(name)
            if array is not None and array.dtype.name in ONNX_TYPES:
                types[name] = helper.make_tensor_type_proto(ONNX_TYPES[array.dtype.name], array.shape)
                if array.size <= LARGEST_KNOWN:
                    data[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
            else:
                dtype, sizes = self.dtype(name), self.sizes(name)
                dims = None if sizes is None else [size if isinstance(size, int) else size.name for size in sizes]
                types[name] = helper.make_tensor_type_proto(ONNX_TYPES.get(dtype or "", 0), dims)
        # Outputs are told apart by their names alone.
        outputs = [f"out:{index}" for index in range(len(proto.output))]
        node = NodeProto(op_type=proto.op_type, domain=domain, input=proto.input, output=outputs)
        node.attribute.extend(proto.attribute)
        try:
            opset = [helper.make_opsetid(domain, version or 1)]
            found = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opset, ir_version=8)
        except onnx_errors():
            return ()
        return [found[name] if name in found else helper.make_tensor_type_proto(0, None) for name in outputs]


def _reshapes(proto: NodeProto) -> bool:
    return proto.op_type == "Reshape" and not proto.domain and len(proto.input) > 1 and len(proto.output) == 1


def _inferred(model: ModelProto) -> ModelProto:
    """The model with what ONNX infers of its values; without that where ONNX fails."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(without_large(model))
    except onnx_errors():
        return model


def _size(dim: Any, otherwise: str) -> int | Size:
    if dim.dim_value > 0:
        return int(dim.dim_value)
    return Size(dim.dim_param or otherwise)
