"""The op table: every op of every dialect, by its full name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from amctc.dialects.custom import custom_row
from amctc.dialects.op import OpDef
from amctc.ir import Node


@cache
def op_table() -> Mapping[str, OpDef]:
    """All ops by `dialect.Type`."""
    from amctc.dialects.caffe import CAFFE_OPS
    from amctc.dialects.quant import QUANT_OPS

    rows = (*CAFFE_OPS, *QUANT_OPS)
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("two rows of the op table have one name")
    return MappingProxyType(table)


def op_def(node: Node) -> OpDef:
    """The row of a node's op, for a custom layer one that says nothing of it.

    KeyError for any other op that the table lacks (a frontend must have refused it).
    """
    row = op_table().get(node.op)
    if row is not None:
        return row
    if node.dialect != "caffe":
        raise KeyError(node.op)
    return custom_row(node.op)


def is_custom(node: Node) -> bool:
    """Whether the node is a custom layer: one of Caffe's dialect that the table lacks."""
    return node.dialect == "caffe" and node.op not in op_table()
