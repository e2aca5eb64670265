"""Where data come in and go out, and layers that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.ge.slots import note
from amctc.ir import Node, Value
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable
from amctc.targets.ge.from_caffe.names import NAME_RULE, is_name

NET_INPUTS = "input"
"""What Caffe calls the layer that it makes of a net's `input` fields."""


def _input(c: Crossing, node: Node) -> None:
    """A Data; the parser makes one of a DummyData too, so that what that holds has to be fed.

    The inputs that a net declares outside its layers, which are one layer here, are named as the blobs that they are.
    """
    if node.name == NET_INPUTS:
        for value in node.outputs:
            name = _checked_blob(value)
            _data(c, node, value, name if name == node.name else c.free_name(name))
        return
    if len(node.outputs) != 1:
        raise Unsayable("has several tops, and an input of GE has one; give each top an Input layer of its own")
    _data(c, node, node.output, node.name)


def _checked_blob(value: Value) -> str:
    if not is_name(value.blob):
        raise Unsayable(f"is the input `{value.blob}`, {NAME_RULE}")
    return value.blob


def _data(c: Crossing, node: Node, value: Value, name: str) -> None:
    made = c.graph.add(name, "ge.Data", (), [name], attrs={}, provenance=node.provenance)
    note(made, shape=value.shape if value.shape is not None else (-2,), dtype=value.dtype)
    made.output.shape, made.output.dtype = value.shape, value.dtype
    c.values[value] = made.output


def _database(c: Crossing, node: Node) -> None:
    raise Unsayable("reads data itself, which no op of GE does; put an Input layer in its place")


def _parameter(c: Crossing, node: Node) -> None:
    """A constant; the parser knows no such layer, and passes write one for what they have computed."""
    if "weight" not in node.weights:
        raise Unsayable("has no weights")
    made = c.graph.add(
        node.name, "ge.Const", (), [node.name], weights={"value": node.weights["weight"]}, provenance=node.provenance
    )
    made.output.shape, made.output.dtype = node.output.shape, node.output.dtype
    c.values[node.output] = made.output


def _nothing(c: Crossing, node: Node) -> None:
    """A layer without outputs is left out."""


def _identity(c: Crossing, node: Node) -> None:
    """What reads the layer reads its input instead: the parser removes it, too."""
    c.finish(node, c.inputs(node)[0])


def _split(c: Crossing, node: Node) -> None:
    count = len(node.outputs)
    made = c.op(node, "Copy", c.inputs(node), {"N": count}, outputs=count)
    c.finish(node, *made.outputs)


DATA: Mapping[str, Rule] = MappingProxyType(
    {
        "caffe.Input": _input,
        "caffe.DummyData": _input,
        **{
            f"caffe.{type}": _database
            for type in ("Data", "AnnotatedData", "ImageData", "MemoryData", "HDF5Data", "WindowData")
        },
        "caffe.Parameter": _parameter,
        "caffe.Silence": _nothing,
        "caffe.HDF5Output": _nothing,
        "caffe.Dropout": _identity,
        "caffe.Split": _split,
    }
)
