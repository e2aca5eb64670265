"""The op table: every op of every dialect, by its full name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from amctc.dialects.custom import CAFFE, OPS, custom_row
from amctc.dialects.ge.generic import generic_row as unknown_ge_row
from amctc.dialects.ge.prototype import GE
from amctc.dialects.onnx.generic import ONNX, generic_row, is_known_type
from amctc.dialects.op import OpDef
from amctc.ir import Node


@cache
def builtin_ops() -> Mapping[str, OpDef]:
    """The ops that come with amctc, by `dialect.Type`."""
    from amctc.dialects.caffe import CAFFE_OPS
    from amctc.dialects.ge.ops import GE_OPS
    from amctc.dialects.onnx import ONNX_OPS
    from amctc.dialects.quant import QUANT_OPS

    rows = (*CAFFE_OPS, *ONNX_OPS, *GE_OPS, *QUANT_OPS)
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("two rows of the op table have one name")
    return MappingProxyType(table)


def op_table() -> Mapping[str, OpDef]:
    """All ops by `dialect.Type`: the built-in ones, and those that this process has registered until now."""
    return _with_registered(OPS.version) if OPS.rows else builtin_ops()


@lru_cache(maxsize=1)
def _with_registered(version: int) -> Mapping[str, OpDef]:
    return MappingProxyType({**builtin_ops(), **{name: row.value for name, row in OPS.rows.items()}})


def op_def(node: Node) -> OpDef:
    """The row that describes a node: that of its op, or the variant which fits it.

    For a custom layer it is one that says nothing of it, for an ONNX op without a row one that lets it pass through.
    KeyError for any other op that the table lacks (a frontend must have refused it).
    """
    row = op_table().get(node.op)
    if row is not None:
        return row.variant(node) or row
    if node.dialect == ONNX:
        return generic_row(node.op)
    if node.dialect == GE:
        return unknown_ge_row(node.op)
    if node.dialect != CAFFE:
        raise KeyError(node.op)
    return custom_row(node.op)


def is_custom(node: Node) -> bool:
    """Whether the node is a custom layer: one of Caffe's dialect that the table lacks."""
    return node.dialect == CAFFE and node.op not in op_table()


def is_foreign(node: Node) -> bool:
    """Whether nothing that comes with amctc runs the node: a custom layer, or one of a registered op."""
    return node.op not in builtin_ops() and not (node.dialect == ONNX and is_known_type(node.type))
