"""The op table: every op of every dialect, by its full name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from amctc.dialects.custom import CAFFE, OPS, custom_row
from amctc.dialects.ge import GE
from amctc.dialects.onnx.generic import ONNX, generic_row, is_known_type
from amctc.dialects.op import OpDef
from amctc.ir import Node
from amctc.on_demand import imported

_BUILT_IN = {
    "caffe": "amctc.dialects.caffe.ops:CAFFE_OPS",
    "onnx": "amctc.dialects.onnx.ops:ONNX_OPS",
    "ge": "amctc.dialects.ge.ops:GE_OPS",
    "quant": "amctc.dialects.quant:QUANT_OPS",
}
"""Where the rows of each dialect lie, in the order in which they are listed."""


@cache
def dialect_ops(dialect: str) -> Mapping[str, OpDef]:
    """The ops of a dialect that come with amctc, by `dialect.Type`; none for a dialect that there is not."""
    if dialect not in _BUILT_IN:
        return MappingProxyType({})
    rows: tuple[OpDef, ...] = imported(_BUILT_IN[dialect])
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError(f"two rows of the dialect `{dialect}` have one name")
    if any(row.dialect != dialect for row in rows):
        raise ValueError(f"the dialect `{dialect}` has a row of another")
    return MappingProxyType(table)


class OpTable(Mapping[str, OpDef]):
    """The ops that come with amctc, and `own` ones before them.

    The rows of a dialect are made when one of them is first looked for: most networks are of one, and of the other
    dialects GE's alone takes as long as a small network takes to be read.
    """

    def __init__(self, own: Mapping[str, OpDef]) -> None:
        self._own = own

    def __getitem__(self, name: str) -> OpDef:
        if name in self._own:
            return self._own[name]
        return dialect_ops(name.partition(".")[0])[name]

    def __iter__(self) -> Iterator[str]:
        built_in = [name for dialect in _BUILT_IN for name in dialect_ops(dialect)]
        return iter(dict.fromkeys([*built_in, *self._own]))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def builtin_ops() -> Mapping[str, OpDef]:
    """The ops that come with amctc, by `dialect.Type`."""
    return OpTable({})


def op_table() -> Mapping[str, OpDef]:
    """All ops by `dialect.Type`: the built-in ones, and those that this process has registered until now."""
    return _with_registered(OPS.version) if OPS.rows else builtin_ops()


@lru_cache(maxsize=1)
def _with_registered(version: int) -> Mapping[str, OpDef]:
    return OpTable({name: row.value for name, row in OPS.rows.items()})


def ops_of(dialects: Collection[str]) -> Mapping[str, OpDef]:
    """The ops of some dialects alone, in the order of `op_table`: the others need not be made for them."""
    found = {name: row for dialect in _BUILT_IN if dialect in dialects for name, row in dialect_ops(dialect).items()}
    return found | {name: row.value for name, row in OPS.rows.items() if row.value.dialect in dialects}


def op_def(node: Node) -> OpDef:
    """The row that describes a node: that of its op, or the variant which fits it.

    For a custom layer it is one that says nothing of it, for an ONNX op without a row one that lets it pass through.
    KeyError for any other op that the table lacks (a frontend must have refused it).
    """
    row = op_table().get(node.op) if OPS.rows else dialect_ops(node.dialect).get(node.op)
    if row is not None:
        return row.variant(node) or row
    if node.dialect == ONNX:
        return generic_row(node.op)
    if node.dialect == GE:
        from amctc.dialects.ge.generic import generic_row as unknown_ge_row  # what other dialects do without

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
