"""Host ops that users register for their custom layers."""

from __future__ import annotations

import numpy as np

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.dialects.custom import CAFFE, HOST_OPS, CustomInfer, CustomOp, CustomRun, is_type_name, registered_for
from amctc.dialects.onnx.element_types import numpy_type
from amctc.dialects.onnx.generic import ONNX, is_known_type
from amctc.dialects.shapes import node_error
from amctc.dialects.table import builtin_ops, is_foreign, op_table
from amctc.ir import Node
from amctc.ir.node import Array, Shape
from amctc.registered import Registration, owner_here, span_of_caller, wrong_call
from amctc.runtime.hostops.host_op import Arrays, HostOp


def register_host_op(type: str, run: CustomRun, *, infer: CustomInfer | None = None) -> Registration:
    """Let Python run the layers of a type that amctc does not know, in this process from now on.

    `run(node, inputs, shapes)` gives the outputs as one array each (a lone array for one output);
    they are converted to float32, or to what an ONNX file says that they are. `inputs` are float32 arrays, or of the
    types of an ONNX model. `node.attrs` holds the layer's
    parameters under their names in the prototxt, `node.weights` its blobs as `blob0`, `blob1`, … .
    `infer(node, shapes)` gives the shapes of the outputs for those of the inputs, and raises
    `amctc.dialects.op.OpError` where the layer is wrong. Without it the shapes behind the layer are not known before it
    runs, so a layer with weights behind it cannot be quantized. For a type that `register_op` describes, the row's
    `infer` counts instead; an op of another dialect than Caffe's is given by its full name, `dialect.Type`; one of an
    ONNX model by `onnx.`, its domain, and its type: `onnx.my.domain.Gain`.

    Whoever registered a type may do so again, and the later function counts. Raises `DiagnosticError`: AM435 for a
    type that is built in or no name, AM520 for one that another has registered, AM523 for what cannot be called.
    """
    dialect, dot, name = type.rpartition(".")
    full = type if dot else f"{CAFFE}.{type}"
    if not is_type_name(name) or (dot and (dialect == CAFFE or not all(map(is_type_name, dialect.split("."))))):
        help = "letters, digits and `_`, as in a C++ name"
        raise error("AM435", f"`{type}` is not a layer type", span_of_caller(), help=help)
    if full in builtin_ops() or (full.startswith(f"{ONNX}.") and is_known_type(full.removeprefix(f"{ONNX}."))):
        help = "give the layer a type of its own"
        message = f"amctc runs layers of type `{type}` itself: `amctc ops` describes them"
        raise error("AM435", message, span_of_caller(), help=help)
    owner = owner_here()
    for function, parameters in ((run, ("node", "inputs", "shapes")), (infer, ("node", "shapes"))):
        problem = None if function is None else wrong_call(function, parameters)
        if problem is not None:
            message = f"the host op `{type}` of {owner.name} cannot be registered: {problem}"
            raise error("AM523", message, span_of_caller(), help=f"write a function of ({', '.join(parameters)})")
    return HOST_OPS.enter(type, CustomOp(type, run, infer), owner)


def missing_host_op(node: Node) -> DiagnosticError:
    """What to raise where a custom layer is to be run that nothing is registered for."""
    known = (row.type for row in op_table().values() if row.dialect == "caffe")
    near = did_you_mean(node.type, known)
    type = node.type if node.dialect == CAFFE else node.op
    help = f'register one: `amctc.register_host_op("{type}", run)`' + (f"; or {near}" if near else "")
    message = "cannot be run: there is no host op for layers of this type"
    return DiagnosticError(node_error("AM436", node, message, help))


def _run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    op = registered_for(node)
    if op is None:
        raise missing_host_op(node)
    try:
        found = op.run(node, inputs, shapes)
    except DiagnosticError:
        raise
    except Exception as failure:  # of code that is not ours
        message = f"its host op failed: {type(failure).__name__}: {failure}"
        raise DiagnosticError(node_error("AM434", node, message)) from failure
    arrays = (found,) if isinstance(found, np.ndarray) else tuple(found)
    if len(arrays) != len(node.outputs):
        message = f"its host op gives {len(arrays)} arrays for {len(node.outputs)} tops"
        raise DiagnosticError(node_error("AM434", node, message))
    return tuple(_as_array(node, array, value.dtype) for array, value in zip(arrays, node.outputs, strict=True))


def _as_array(node: Node, array: Array, dtype: str) -> Array:
    try:
        return np.asarray(array, numpy_type(dtype), order="C")
    except (TypeError, ValueError):
        message = f"its host op gives {type(array).__name__}, where an array of numbers is expected"
        raise DiagnosticError(node_error("AM434", node, message)) from None


CUSTOM = HostOp("custom", lambda node, dtypes: is_foreign(node) and registered_for(node) is not None, _run)
"""Every custom layer, and every layer of a registered op, that a user has registered a host op for."""
