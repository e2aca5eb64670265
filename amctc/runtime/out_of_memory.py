"""What is said when layers need more memory than there is."""

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
