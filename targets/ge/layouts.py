"""Which layout a written tensor has."""

from __future__ import annotations

from amctc.dialects.ge.slots import NCHW, data_format, filter_format
from amctc.ir import Node, Value
from amctc.ir.node import Shape

IMAGE_RANK = 4
ND = "ND"


def value_layout(value: Value) -> str:
    """The layout of a value: that of its producer where it is an image, else ND."""
    producer = value.producer
    while producer.dialect == "quant" and producer.inputs:
        producer = producer.inputs[0].producer
    return image_layout(value.shape, data_format(producer))


def image_layout(shape: Shape | None, layout: str = NCHW) -> str:
    """A layout of images, for a shape that may be that of some."""
    return layout if shape is None or len(shape) == IMAGE_RANK else ND


def weight_layout(node: Node, slot: str) -> str:
    """The layout of a constant that an op reads."""
    if slot == "filter":
        return filter_format(node)
    return ND
