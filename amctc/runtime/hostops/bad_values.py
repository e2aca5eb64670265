"""What a host op says when the net has computed something that the layer cannot take."""

from __future__ import annotations

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import node_error
from amctc.ir import Node


def bad_value(node: Node, message: str, help: str | None = None) -> DiagnosticError:
    """The error (AM432) for a label, a region or the like that is out of range."""
    return DiagnosticError(node_error("AM432", node, message, help))
