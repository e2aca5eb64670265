"""The depthwise convolutions that stand for BatchNorm, Scale and Bias layers: a record names them, a model does not."""

from __future__ import annotations

from dataclasses import dataclass

from amctc.dialects.traits import affine_coefficients
from amctc.ir import Graph, Node
from amctc.records.scale_record import SUFFIX

_CHAIN = ("BatchNorm", "Scale", "Bias")


@dataclass(frozen=True)
class DepthwiseChain:
    """The layers that a depthwise convolution of so many channels is to stand for."""

    nodes: tuple[Node, ...]
    channels: int

    @property
    def head(self) -> Node:
        return self.nodes[0]


def depthwise_chain(graph: Graph, name: str, last: str | None = None) -> DepthwiseChain | None:
    """The layers that `name`, which is no layer of the graph, stands for; None where it stands for none.

    The chain begins with the layer whose name it is but for the suffix, and ends with `last` (default: as late as
    it can).
    """
    base = name.removesuffix(SUFFIX)
    if base == name or base not in graph:
        return None
    head = graph.node(base)
    shape = head.inputs[0].shape if head.inputs else None
    if shape is None or len(shape) != 4 or not _is_part(head, shape[1]):
        return None
    chain = [head]
    while chain[-1].name != last and (following := _following(graph, chain[-1])) is not None:
        if not _is_part(following, shape[1]):
            break
        chain.append(following)
    return DepthwiseChain(tuple(chain), shape[1])


def _following(graph: Graph, node: Node) -> Node | None:
    """The next of the types of a chain, if it alone reads the node."""
    if not graph.has_single_use(node.output):
        return None
    (use,) = graph.uses(node.output)
    after = _CHAIN[_CHAIN.index(node.type) + 1 :]
    return use.node if use.index == 0 and use.node.type in after else None


def _is_part(node: Node, channels: int) -> bool:
    return node.op.startswith("caffe.") and node.type in _CHAIN and _gives_coefficients(node, channels)


def _gives_coefficients(node: Node, channels: int) -> bool:
    # Without weights it cannot be told; the passes will look again.
    return not node.weights or not isinstance(affine_coefficients(node, channels), str)
