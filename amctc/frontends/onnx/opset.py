"""Which opset a model is written in, and the same model in one that can be run."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from amctc.diagnostics import error
from amctc.dialects.onnx.conversion import ConversionFailed, converted
from amctc.dialects.onnx.functions import lacking_functions
from amctc.dialects.onnx.subgraphs import all_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST = 13
"""The oldest opset that graphs are held in: from it on axes are inputs and QuantizeLinear has channels."""
OLDEST_READ = 7


def standard_version(model: ModelProto, file: str) -> int:
    """The version of the standard opset. Raises `DiagnosticError` (AM344) for one that is not read."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        if any(node.domain in ("", "ai.onnx") for node in all_nodes(model.graph)):
            message = "this model does not say in which version of the standard opset it is written"
            raise error("AM344", message, file=file, help="export it again: `opset_import` lacks the domain ``")
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

    Ops that ONNX Runtime does not have, but that ONNX defines by other ops, are replaced by these. Raises
    `DiagnosticError` (AM344) where the conversion fails.
    """
    version = standard_version(model, file)
    wanted = min(max(version, OLDEST), newest_version())
    if version == wanted and not model.functions and not lacking_functions(model, wanted):
        return model
    try:
        return converted(model, wanted)
    except ConversionFailed as failure:
        message = f"this model of opset {version} cannot be brought to opset {wanted}: {failure}"
        raise error("AM344", message, file=file, help=f"export it again with opset {wanted}") from failure
