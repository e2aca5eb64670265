"""What a node says of itself: one of its attributes by name, with the defaults of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from amctc.dialects.table import op_table
from amctc.ir import Node
from amctc.text.plain import Plain

PROPERTIES: Mapping[str, Callable[[Node], int | None]] = MappingProxyType(
    {
        "rank": lambda node: len(node.output.shape) if node.outputs and node.output.shape is not None else None,
        "inputs": lambda node: len(node.inputs),
        "outputs": lambda node: len(node.outputs),
    }
)
"""What every node has: the number of axes of its first output (None: unknown), of its inputs and of its outputs."""


def attribute(node: Node, name: str) -> Plain | None:
    """The attribute of a node; None where it has none of that name, or an unset one without a default.

    Of a Caffe layer `power` is a field of its own parameters, and `power_param.power` names the message, too;
    defaults are those of the schema, an enum is a word, a repeated field a tuple. What our schema does not know,
    and every attribute of another dialect, is what `node.attrs` holds. Raises `OpError` where the parameters do
    not fit the schema.
    """
    path = name.split(".")
    row = op_table().get(node.op)
    if row is None or row.dialect != "caffe" or row.parameter is None:
        return plain_field(node.attrs, path)
    from amctc.dialects.caffe.fields import layer_attribute  # with Caffe's schema, which other dialects do without

    return layer_attribute(node, row, path)


def plain_field(given: Plain | None, path: Sequence[str]) -> Plain | None:
    """What lies at a path of names in plain values; None where nothing does."""
    for name in path:
        if not isinstance(given, Mapping):
            return None
        given = given.get(name)
    return given
