"""Host ops that users register for their custom layers."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.dialects.custom import CustomInfer, CustomOp, CustomRun, enter, is_type_name, leave, registered
from amctc.dialects.shapes import node_error
from amctc.dialects.table import is_custom, op_table
from amctc.ir import Node
from amctc.ir.graph import Array, Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp


class Registration:
    """A registered host op; `remove` takes it back, and so does the end of a `with` block."""

    def __init__(self, op: CustomOp) -> None:
        self._op = op

    @property
    def layer_type(self) -> str:
        return self._op.type

    def remove(self) -> None:
        """Register nothing for the type any more; a second time nothing happens."""
        leave(self._op)

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def register_host_op(type: str, run: CustomRun, *, infer: CustomInfer | None = None) -> Registration:
    """Let Python run the layers of a type that amctc does not know, in this process from now on.

    `run(node, inputs, shapes)` gives the outputs as one array each (a lone array for one output);
    they are converted to float32. `inputs` are float32 arrays. `node.attrs` holds the layer's
    parameters under their names in the prototxt, `node.weights` its blobs as `blob0`, `blob1`, … .
    `infer(node, shapes)` gives the shapes of the outputs for those of the inputs, and raises
    `amctc.dialects.op.OpError` where the layer is wrong. Without it the shapes behind the layer are not known before it
    runs, so a layer with weights behind it cannot be quantized. Raises `DiagnosticError` (AM435)
    for a type that is built in, taken, or no name.
    """
    if not is_type_name(type):
        raise error("AM435", f"`{type}` is not a layer type", help="letters, digits and `_`, as in a C++ name")
    if f"caffe.{type}" in op_table():
        help = "give the layer a type of its own"
        raise error("AM435", f"amctc runs layers of type `{type}` itself: `amctc ops` describes them", help=help)
    if registered(type) is not None:
        help = "call `remove()` on what the first registration returned"
        raise error("AM435", f"a host op for `{type}` is registered already", help=help)
    op = CustomOp(type, run, infer)
    enter(op)
    return Registration(op)


def missing_host_op(node: Node) -> DiagnosticError:
    """What to raise where a custom layer is to be run that nothing is registered for."""
    known = (row.type for row in op_table().values() if row.dialect == "caffe")
    near = did_you_mean(node.type, known)
    help = f'register one: `amctc.register_host_op("{node.type}", run)`' + (f"; or {near}" if near else "")
    message = "cannot be run: there is no host op for layers of this type"
    return DiagnosticError(node_error("AM436", node, message, help))


def _run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
    op = registered(node.type)
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
    return tuple(_as_float32(node, array) for array in arrays)


def _as_float32(node: Node, array: Array) -> Array:
    try:
        return np.ascontiguousarray(array, np.float32).reshape(np.shape(array))
    except (TypeError, ValueError):
        message = f"its host op gives {type(array).__name__}, where an array of numbers is expected"
        raise DiagnosticError(node_error("AM434", node, message)) from None


CUSTOM = HostOp("custom", lambda node, dtypes: is_custom(node) and registered(node.type) is not None, _run)
"""Every custom layer that a user has registered a host op for."""
