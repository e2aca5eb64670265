"""Which opset a model is written in, and the same model in one that can be run."""

from __future__ import annotations

import math
from collections.abc import Set
from functools import cache
from typing import TYPE_CHECKING, Any

from amctc.diagnostics import error

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

OLDEST = 13
"""The oldest opset that graphs are held in: from it on axes are inputs and QuantizeLinear has channels."""
OLDEST_READ = 7
_SOFTMAX_BY_AXIS = 13
"""From this opset on a softmax is taken along one axis, before it was along all from that one on."""
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_HIDDEN = "amctc.unchanged"
SMALL = 1024
"""Constants of more elements are none that a conversion looks at."""


def standard_version(model: ModelProto, file: str) -> int:
    """The version of the standard opset. Raises `DiagnosticError` (AM344) for one that is not read."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:  # ops of other domains alone
        return newest_version()
    version = max(versions)
    if version < OLDEST_READ:
        message = f"this model is written in opset {version}; the oldest that is read is {OLDEST_READ}"
        raise error("AM344", message, file=file, help="export it again with a newer opset")
    from onnx import defs

    if version > defs.onnx_opset_version():
        message = f"this model is written in opset {version}; the newest that is known here is {newest_version()}"
        raise error("AM344", message, file=file, help="export it with an older opset, or install a newer `onnx`")
    return version


@cache
def newest_version() -> int:
    """The newest opset that both `onnx` and ONNX Runtime know."""
    import onnxruntime as ort
    from onnx import TensorProto, defs, helper
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

    options = ort.SessionOptions()
    options.log_severity_level = 4
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    for version in range(defs.onnx_opset_version(), OLDEST, -1):
        opset = [helper.make_opsetid("", version)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidArgument):
            continue
        return version
    return OLDEST


def runnable(model: ModelProto, file: str) -> ModelProto:
    """The model without functions, and in an opset that graphs are held in.

    Raises `DiagnosticError` (AM344) where the conversion fails.
    """
    version = standard_version(model, file)
    wanted = min(max(version, OLDEST), newest_version())
    if version == wanted and not model.functions:
        return model
    from onnx import inliner, version_converter

    try:
        with_inputs = _WithoutLarge(model)
        small = with_inputs.model
        if small.functions:
            small = inliner.inline_local_functions(small)
        if version != wanted:
            if version < _SOFTMAX_BY_AXIS <= wanted:
                _keep_softmax(small)
            small = version_converter.convert_version(small, wanted)
            _take_softmax_back(small)
    except (RuntimeError, ValueError, IndexError) as failure:  # of the library's C++
        reason = next((line for line in str(failure).splitlines() if line.strip()), "no reason given")
        message = f"this model of opset {version} cannot be brought to opset {wanted}: {reason[:200]}"
        raise error("AM344", message, file=file, help=f"export it again with opset {wanted}") from failure
    return with_inputs.whole(small)


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
    return _WithoutLarge(model).model


class _WithoutLarge:
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
