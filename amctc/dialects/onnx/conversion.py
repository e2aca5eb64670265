"""A model in another opset, by `onnx`'s own converter, without copies of its large constants."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import TYPE_CHECKING, Any

from amctc.dialects.onnx.functions import inlined, is_older, lacking_functions
from amctc.dialects.onnx.library import onnx_errors
from amctc.dialects.onnx.subgraphs import all_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_STANDARD = ("", "ai.onnx")
_SCAN_OF_BATCHES = 8
_DEEPEST = 4
_SOFTMAX_BY_AXIS = 13
"""From this opset on a softmax is taken along one axis, before it was along all from that one on."""
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_HIDDEN = "amctc.unchanged"
SMALL = 1024
"""Constants of more elements are none that a conversion looks at."""


class ConversionFailed(Exception):
    """The converter's own reason, in one line."""


def converted(model: ModelProto, opset: int) -> ModelProto:
    """The model in another opset of the standard domain, without functions of its own. Raises `ConversionFailed`.

    Ops that ONNX Runtime does not have, but that ONNX defines by other ops, are replaced by these.
    """
    version = max((entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=opset)
    if version == _SCAN_OF_BATCHES and any(node.op_type == "Scan" for node in all_nodes(model.graph)):
        raise ConversionFailed("a Scan of opset 8 goes over batches, as no later one does")
    apart = _Apart(model)
    try:
        small = inlined(apart.model, lacking_functions(model, opset))
        if version > opset:
            small = _older(small, opset)
        elif version < opset:
            small = _newer(small, version, opset)
    except onnx_errors() as failure:
        raise ConversionFailed(_reason(str(failure))) from failure
    return apart.whole(small)


def _reason(text: str) -> str:
    """The library's words without the place in its own source that they may begin with."""
    line = next((line for line in text.splitlines() if line.strip()), "no reason given")
    return line.rpartition("failed: ")[2].strip()[:200]


def _newer(model: ModelProto, version: int, opset: int) -> ModelProto:
    from onnx import helper, version_converter

    if version < _SOFTMAX_BY_AXIS <= opset:
        _keep_softmax(model)
    _keep_unknown(model)
    if any(node.domain == _HIDDEN for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(_HIDDEN, 1))
    found = version_converter.convert_version(model, opset)
    _take_back(found)
    return found


def _older(model: ModelProto, opset: int) -> ModelProto:
    from onnx import version_converter

    if is_older(model, opset):
        return _declared_as(model, opset)
    try:
        return version_converter.convert_version(model, opset)
    except onnx_errors():
        for _ in range(_DEEPEST):  # what a function consists of may be new as well
            functions = lacking_functions(model, opset, newer=True)
            if not functions:
                break
            model = inlined(model, functions)
        return _declared_as(model, opset) if is_older(model, opset) else version_converter.convert_version(model, opset)


def _declared_as(model: ModelProto, opset: int) -> ModelProto:
    for entry in model.opset_import:
        if entry.domain in _STANDARD:
            entry.version = opset
    return model


def _keep_softmax(model: ModelProto) -> None:
    """Hide softmaxes along the last axis, which are the same in every opset, behind a domain of their own.

    The conversion would put a Flatten before and a Reshape behind each.
    """
    from onnx import helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
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


def _keep_unknown(model: ModelProto) -> None:
    """Hide the ops that ONNX does not have, such as those of AMCT's models, which the conversion would refuse."""
    from onnx import defs

    for node in model.graph.node:
        if node.domain in _STANDARD and not defs.has(node.op_type):
            node.domain = _HIDDEN


def _take_back(model: ModelProto) -> None:
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
