"""What must fill the slots of a node for it to be run: values, or constants."""

from __future__ import annotations

from amctc.dialects.ge.slots import NHWC, data_format, operand, operands, slot_names
from amctc.dialects.kin import NoKin
from amctc.dialects.op import OpError
from amctc.ir import Node, Value
from amctc.ir.node import Array


def value_number(node: Node, slot: str) -> int:
    """Which input of the node fills a slot. Raises `NoKin` for a constant, `OpError` where nothing fills it."""
    found = operand(node, slot)
    if found is None:
        raise OpError(f"needs an input `{slot}`")
    if not isinstance(found, Value):
        raise NoKin(f"cannot be run: its `{slot}` is constant")
    # One value may fill two slots: they are counted, not looked for.
    return _slots_with_values(node).index(slot)


def has_value(node: Node, slot: str) -> bool:
    """Whether a value fills a slot."""
    return isinstance(operand(node, slot), Value)


def constant(node: Node, slot: str) -> Array:
    """The constant that fills a slot. Raises `NoKin` for a value, `OpError` where nothing fills it."""
    found = optional_constant(node, slot)
    if found is None:
        raise OpError(f"needs a constant `{slot}`")
    return found


def optional_constant(node: Node, slot: str) -> Array | None:
    """The constant that fills a slot; None where nothing does. Raises `NoKin` for a value."""
    found = operand(node, slot)
    if isinstance(found, Value):
        raise NoKin(f"cannot be run: its `{slot}` is not constant")
    return None if found is None else node.weights[found]


def is_read(node: Node, output: int) -> bool:
    """Whether something needs an output of the node."""
    value = node.outputs[output]
    return bool(node.graph.uses(value)) or node.graph.is_output(value)


def lies_nhwc(node: Node) -> bool:
    """Whether the data of a node are images with their channels last."""
    return data_format(node) == NHWC


def need_nchw(node: Node) -> None:
    """Raises `NoKin` for a node whose channels lie last, where only the usual layout is known."""
    if lies_nhwc(node):
        raise NoKin("cannot be run on data in the layout NHWC")


def _slots_with_values(node: Node) -> list[str]:
    filled = zip(slot_names(node), operands(node), strict=False)
    return [name for name, found in filled if isinstance(found, Value)]
