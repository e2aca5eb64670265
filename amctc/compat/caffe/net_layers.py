"""What a net says of its layers, in Caffe's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.errors import refusal
from amctc.dialects.table import op_def, op_table
from amctc.frontends.caffe.quant_layers import QUANT_LAYERS
from amctc.ir import Graph, Node

_OF_QUANT = {ours: theirs for theirs, ours in QUANT_LAYERS.items()} | {"quant.Observe": "IFMR"}


class NetLayer:
    """One layer of a net: `type` as in the prototxt, `blobs` its weights."""

    def __init__(self, node: Node, blobs: Sequence[Blob]) -> None:
        self.type = _OF_QUANT.get(node.op, node.type)
        self.blobs = list(blobs)

    def setup(self, bottom: object, top: object) -> None:
        """Nothing: the net has set the layer up."""
        del bottom, top

    def reshape(self, bottom: object, top: object) -> None:
        """Nothing: `net.reshape()` does it for all layers."""
        del bottom, top


class Layer:
    """The base of Python layers, to be inherited from; none can be made, as such layers are not run.

    Raises `CaffeError` (AM668).
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        message = f"`{type(self).__name__}` is a Python layer, and those are not run here"
        help = "give the layer a type of its own in the prototxt, and a function: `amctc.register_host_op(type, run)`"
        raise refusal("AM668", message, help=help)


def layer_type_list() -> list[str]:
    """The types of all layers that are run, in order."""
    types = {row.type for row in op_table().values() if row.dialect == "caffe"}
    return sorted(types | set(QUANT_LAYERS) | {"IFMR"})


def output_names(graph: Graph) -> list[str]:
    """The blobs that no layer reads at the end, by name, as Caffe orders them.

    What an IFMR layer observes is an output all the same.
    """
    left: set[str] = set()
    for node in graph.nodes:
        if node.op != "quant.Observe":
            left.difference_update(value.blob for value in node.inputs)
        left.update(value.blob for value in node.outputs)
    return sorted(left)


def loss_weights(node: Node) -> tuple[float, ...]:
    """By how much each top counts in the loss: `loss_weight`, or for a loss layer 1 for its first top."""
    given: Any = node.attrs.get("loss_weight", ())
    weights = [float(weight) for weight in (given if isinstance(given, tuple) else (given,))]
    usual = [1.0] if node.type.endswith("Loss") and op_def(node).training_only else []
    weights = weights or usual
    return tuple([*weights, *[0.0] * len(node.outputs)][: len(node.outputs)])
