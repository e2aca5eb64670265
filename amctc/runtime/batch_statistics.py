"""Renewing the running statistics of normalizing layers with the batches that a graph is run on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.op import BatchStatistics
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.runtime.executor import Executor


def batch_statistics_nodes(graph: Graph) -> tuple[Node, ...]:
    """The layers that normalize by the statistics of each batch, in the order of the graph."""
    traits = ((node, op_def(node).statistics) for node in graph.nodes)
    return tuple(node for node, trait in traits if trait is not None and trait.uses_batch(node))


class StatisticsUpdate:
    """The running statistics of a graph's layers, fed batch by batch by whoever runs the graph.

    They begin with the nodes' weights, and are kept beside the graph, which stays as it is; layers that share their
    weights go on sharing. `fraction` is how much of the running statistics is left when a batch is added, for layers
    that do not say themselves. `nodes` are the layers, those that use the statistics of each batch, in graph order;
    `values` are what every batch must bring, their inputs.
    """

    def __init__(self, graph: Graph, fraction: float) -> None:
        self.nodes = batch_statistics_nodes(graph)
        self.values = tuple(dict.fromkeys(node.inputs[0] for node in self.nodes))
        self.batches = 0
        """How many batches have been seen."""
        self._fraction = fraction
        self._running = {node: _apart(node) for node in self.nodes}
        self._sharing = _sharing(self.nodes)

    def feed(self, arrays: Mapping[Value, NDArray[Any]]) -> None:
        """Take in one batch; the arrays, [samples, channels, ...] each, may be overwritten afterwards.

        Raises `DiagnosticError` (AM404) for NaN and infinity, in the batch or in what comes of it.
        """
        for node, running in self._running.items():
            trait, x = statistics_trait(node), np.asarray(arrays[node.inputs[0]], np.float32)
            own = trait.fraction(node)
            found = trait.updated(running, x, self._fraction if own is None else own)
            if not all(np.isfinite(array).all() for array in found.values()):
                raise _not_finite(node, x)
            for role, array in found.items():
                for other in self._sharing.get((node, role), (node,)):
                    self._running[other].weights[role] = array
        self.batches += 1

    @property
    def statistics(self) -> Mapping[Node, Mapping[str, NDArray[np.float32]]]:
        """What the statistics are by now: weights of the graph's nodes, float32, by role."""
        return {node: _statistics_of(running) for node, running in self._running.items()}


def update_statistics(
    graph: Graph,
    batches: Iterable[Mapping[str, ArrayLike]],
    fraction: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Mapping[Node, Mapping[str, NDArray[np.float32]]]:
    """Run the graph on every batch, and give the statistics that its layers have then (see `StatisticsUpdate`).

    One batch of activations is alive at a time. `progress` is told how many batches are done. A graph without such
    layers is not run. Raises `DiagnosticError` as `Executor.run` and `StatisticsUpdate.feed` do.
    """
    update = StatisticsUpdate(graph, fraction)
    if not update.nodes:
        return {}
    executor = Executor(graph, fetch=update.values)
    for feeds in batches:
        update.feed(executor.run(feeds))
        progress(update.batches)
    return update.statistics


def statistics_trait(node: Node) -> BatchStatistics:
    """The trait of a node that has it; ValueError otherwise."""
    trait = op_def(node).statistics
    if trait is None:
        raise ValueError(f"{node.op} has no running statistics")
    return trait


def _apart(node: Node) -> Node:
    """A copy beside the graph, whose weights change."""
    return Node(node.graph, node.name, node.op, node.attrs, node.weights, node.provenance)


def _statistics_of(running: Node) -> Mapping[str, NDArray[np.float32]]:
    return {role: array.astype(np.float32, copy=False) for role, array in running.weights.items()}


def _sharing(nodes: Iterable[Node]) -> Mapping[tuple[Node, str], tuple[Node, ...]]:
    """For each weight the layers that have the very same array in that role."""
    groups: dict[tuple[str, int], list[Node]] = {}
    for node in nodes:
        for role, array in node.weights.items():
            groups.setdefault((role, _place(array)), []).append(node)
    return {(node, role): tuple(group) for (role, _), group in groups.items() for node in group}


def _place(array: Array) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


def _not_finite(node: Node, x: NDArray[np.float32]) -> DiagnosticError:
    if np.isfinite(x).all():
        message = f"the statistics of layer `{node.name}` become NaN or Inf, though its input is neither"
        return error("AM404", message, help="check the layer's own weights, and the size of the numbers before it")
    message = f"the input of layer `{node.name}` holds NaN or Inf, and so would its statistics"
    return error("AM404", message, help="check the calibration data and the weights before the layer")
