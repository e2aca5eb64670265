"""A model in another opset, by `onnx`'s own converter, without copies of its large constants."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_SOFTMAX_BY_AXIS = 13
"""From this opset on a softmax is taken along one axis, before it was along all from that one on."""
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_HIDDEN = "amctc.unchanged"
SMALL = 1024
"""Constants of more elements are none that a conversion looks at."""


class ConversionFailed(Exception):
    """The converter's own reason, in one line."""


def converted(model: ModelProto, opset: int) -> ModelProto:
    """The model in another opset of the standard domain, its functions inlined. Raises `ConversionFailed`."""
    from onnx import inliner, version_converter

    version = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=opset)
    apart = _Apart(model)
    small = apart.model
    try:
        if small.functions:
            small = inliner.inline_local_functions(small)
        if version != opset:
            if version < _SOFTMAX_BY_AXIS <= opset:
                _keep_softmax(small)
            small = version_converter.convert_version(small, opset)
            _take_softmax_back(small)
    except (RuntimeError, ValueError, IndexError) as failure:  # of the library's C++
        reason = next((line for line in str(failure).splitlines() if line.strip()), "no reason given")
        raise ConversionFailed(reason[:200]) from failure
    return apart.whole(small)


def _keep_softmax(model: ModelProto) -> None:
    """Hide softmaxes along the last axis, which are the same in every opset, behind a domain of their own.

    The conversion would put a Flatten before and a Reshape behind each.
    """
    from onnx import helper, shape_inference

    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }
    for node in model.graph.node:
        if node.op_type not in _SOFTMAXES or node.domain not in ("", "ai.onnx"):
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        rank = ranks.get(node.input[0], ranks.get(node.output[0]))
        if axis == -1 or rank == axis + 1:
            node.domain = _HIDDEN
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("axis", -1))
    if any(node.domain == _HIDDEN for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(_HIDDEN, 1))


def _take_softmax_back(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.domain == _HIDDEN:
            node.domain = ""
    kept = [entry for entry in model.opset_import if entry.domain != _HIDDEN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def without_large(model: ModelProto) -> ModelProto:
    """A copy of the model in which large constants are inputs: good for looking at types and shapes."""
    return _Apart(model).model


class _Apart:
    """A model whose large constants are inputs while a library works on it, which would copy them several times."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import ModelProto, TensorProto, helper

        small = ModelProto()
        small.CopyFrom(_shell(model))
        self._large = [tensor for tensor in model.graph.initializer if _is_large(tensor)]
        names = {tensor.name for tensor in self._large}
        small.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in names)
        declared = {value.name for value in small.graph.input}
        self._added = names - declared
        small.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in self._large
            if tensor.name in self._added and tensor.data_type != TensorProto.UNDEFINED
        )
        self.model = small

    def whole(self, small: ModelProto) -> ModelProto:
        """The model that became of it, with its large constants again."""
        kept = [value for value in small.graph.input if value.name not in self._added]
        del small.graph.input[:]
        small.graph.input.extend(kept)
        small.graph.initializer.extend(self._large)
        return small


def _shell(model: ModelProto) -> ModelProto:
    """The model without its constants."""
    from onnx import ModelProto

    shell = ModelProto()
    _copy_fields(model, shell, {"graph"})
    _copy_fields(model.graph, shell.graph, {"initializer"})
    return shell


def _copy_fields(message: Any, to: Any, but: Set[str]) -> None:
    """Every field that is set, but those of these names."""
    for field, value in message.ListFields():
        if field.name in but:
            continue
        if field.is_repeated:
            getattr(to, field.name).extend(value)
        elif field.message_type is not None:
            getattr(to, field.name).CopyFrom(value)
        else:
            setattr(to, field.name, value)


def _is_large(tensor: TensorProto) -> bool:
    from onnx import TensorProto

    return tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > SMALL
