"""What a linear layer's outputs hold."""

from __future__ import annotations

from amctc.ir import Node


def sums_dtype(node: Node) -> tuple[str, ...]:
    """int32 for a linear layer that reads integers, else float32; one for each output."""
    found = "int32" if node.inputs[0].dtype.startswith("int") else "float32"
    return (found,) * len(node.outputs)
