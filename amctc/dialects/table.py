"""The op table: every op of every dialect, by its full name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

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
    """The row of a node's op; KeyError when the table has none (a frontend must have refused it)."""
    return op_table()[node.op]
