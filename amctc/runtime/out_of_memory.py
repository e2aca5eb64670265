"""What is said when layers cannot be run: for want of memory, or because ONNX Runtime cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.caffe.blobs import describe
from amctc.dialects.shapes import infer_nodes, node_error
from amctc.ir import Node, Value
from amctc.ir.node import Shape

HELP = "take smaller batches (`--batch-size`), or a machine with more memory"


def out_of_memory(nodes: Sequence[Node], known: Mapping[Value, Shape]) -> DiagnosticError:
    """The error (AM421) for nodes, run together on inputs of these shapes, for which memory did not suffice.

    It names them, and the largest blob that they compute.
    """
    shapes = infer_nodes(nodes, known)
    made = {value.blob: shapes[value] for node in nodes for value in node.outputs if value in shapes}
    notes: tuple[str, ...] = ()
    if made:
        name, shape = max(made.items(), key=lambda item: math.prod(item[1]))
        notes = (f"the largest blob here is `{name}`, {describe(shape)}",)
    if len(nodes) > 1:
        message = f"not enough memory to run the layers `{nodes[0].name}` to `{nodes[-1].name}`"
        return error("AM421", message, notes=notes, help=HELP)
    alone = node_error("AM421", nodes[0], "not enough memory to run it", HELP)
    return error(alone.code, alone.message, alone.span, file=alone.file, notes=notes, help=alone.help)


def cannot_run(nodes: Sequence[Node], reason: str) -> DiagnosticError:
    """The error (AM437) for ONNX nodes that ONNX Runtime refuses; `reason` is what it says, and mostly names one."""
    named = next((node for node in nodes if f"'{node.name}'" in reason or f'"{node.name}"' in reason), None)
    message = f"ONNX Runtime cannot run it: {reason}"
    help = "newer versions of ONNX Runtime may; its release notes list the ops that it has"
    if named is not None or len(nodes) == 1:
        return DiagnosticError(node_error("AM437", named or nodes[0], message, help))
    return error("AM437", f"the layers `{nodes[0].name}` to `{nodes[-1].name}`: {message}", help=help)
