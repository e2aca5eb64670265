"""What a model's file says, or lets ONNX infer, of the types and shapes of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amctc.dialects.onnx.conversion import without_large
from amctc.dialects.onnx.element_types import OPAQUE, type_name
from amctc.frontends.onnx.shape_values import Size, Sizes
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import ModelProto


class Declared:
    """Types and shapes by the names of values, those that ONNX infers of the whole model included."""

    def __init__(self, model: ModelProto) -> None:
        self._types: dict[str, Any] = {}
        for graph in (model.graph, _inferred(model).graph):
            for value in (*graph.input, *graph.value_info, *graph.output):
                if value.type.WhichOneof("value") == "tensor_type":
                    self._types[value.name] = value.type.tensor_type

    def dtype(self, name: str) -> str | None:
        """The element type of a value; None where it is not known."""
        found = self._types.get(name)
        known = None if found is None or not found.elem_type else type_name(found.elem_type)
        return None if known == OPAQUE else known

    def sizes(self, name: str) -> Sizes | None:
        """The size of each axis of a value; None where not even their number is known."""
        found = self._types.get(name)
        if found is None or not found.HasField("shape"):
            return None
        return tuple(_size(dim, f"{name}#{axis}") for axis, dim in enumerate(found.shape.dim))

    def plain_shape(self, value: Any) -> tuple[Plain, ...]:
        """The declared shape of an input or output: a number, or the axis's name (`?` where it has none)."""
        dims = value.type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.dim_value > 0 else (dim.dim_param or "?") for dim in dims)


def _size(dim: Any, otherwise: str) -> int | Size:
    if dim.dim_value > 0:
        return int(dim.dim_value)
    return Size(dim.dim_param or otherwise)


def _inferred(model: ModelProto) -> ModelProto:
    """The model with what ONNX infers of its values; without that where ONNX fails."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(without_large(model), data_prop=True)
    except (RuntimeError, ValueError):
        return model
