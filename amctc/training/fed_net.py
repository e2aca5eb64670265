"""A net of a solver with what feeds it: built from its file, and run batch after batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from amctc.diagnostics import Collector
from amctc.dialects.caffe.loss import loss_weights
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends.caffe.initial_weights import begin_weights
from amctc.frontends.caffe.load import load_caffe
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Value
from amctc.ir.node import Shape
from amctc.training.data_layers import BatchSource, feeds_of, open_sources
from amctc.training.log import Score, TrainingLog
from amctc.training.network import ForwardResult, Network
from amctc.training.places import Locate
from amctc.training.solver_nets import NetPlan


@dataclass(frozen=True)
class NetSettings:
    """What the nets of one training share."""

    seed: int
    device: str
    locate: Locate
    log: TrainingLog


class FedNet:
    """A network and the data layers that fill its inputs.

    `position` is the number of the batch that comes next. Raises `DiagnosticError` for a net that cannot be read or
    trained, or whose data cannot.
    """

    def __init__(
        self,
        plan: NetPlan,
        settings: NetSettings,
        *,
        arrays: Mapping[str, Mapping[str, ArrayLike]] | None = None,
        weights: Sequence[str | Path] = (),
        shared: FedNet | None = None,
    ) -> None:
        self.plan = plan
        self.position = 0
        collector = Collector()
        state = plan.state(plan.read(Collector()).written_state)
        self.graph: Graph = load_caffe(plan.net, None, collector, state=state, keep_training=True)
        self.sources: Mapping[str, BatchSource] = open_sources(
            self.graph, seed=settings.seed, arrays=arrays, locate=settings.locate
        )
        self._settings = settings
        self.shapes: Mapping[Value, Shape] = annotate_shapes(self.graph, self._declared())
        draw = np.random.default_rng(settings.seed)
        begin_weights(self.graph, self.shapes, {}, "", draw)
        if shared is not None:
            found = {node.name: tuple(node.weights.values()) for node in shared.graph.nodes if node.weights}
            begin_weights(self.graph, self.shapes, found, "the net that is trained", draw)
        for path in weights:
            self._attach(path, draw)
        for warning in collector.warnings:
            settings.log.warn(warning)
        self.network: Network = Network(
            self.graph,
            phase=state.phase,
            shared=shared.network if shared is not None else None,
            device=settings.device,
            seed=settings.seed,
        )
        self._weights_of_outputs = {
            value.blob: weight
            for node in self.graph.nodes
            for value, weight in zip(node.outputs, loss_weights(node), strict=True)
        }

    @property
    def name(self) -> str:
        return self.graph.name

    def forward(self, blobs: Collection[str] = ()) -> ForwardResult:
        """Run the next batch. Raises `DiagnosticError` as the data layers and the network do."""
        feeds = feeds_of(self.graph, self.sources, self.position)
        # By the number of the batch, so that a training that is resumed drops what it would have dropped.
        self.network.seed(int(np.random.default_rng((self._settings.seed, self.position)).integers(0, 1 << 62)))
        self.position += 1
        return self.network.forward(feeds, blobs=blobs)

    def scores(self, result: ForwardResult) -> list[Score]:
        """The numbers of the outputs, in the order of the outputs' names, as Caffe has them."""
        return [
            Score(name, float(value), self._weights_of_outputs.get(name, 0.0))
            for name in sorted(result.outputs)
            for value in result.outputs[name].detach().reshape(-1).cpu().numpy()
        ]

    def load(self, path: str | Path) -> None:
        """Copy the weights of layers of the same names out of a caffemodel, as Caffe does it."""
        self.network.write_back()
        self._attach(path, np.random.default_rng(self._settings.seed))
        self.network.read_weights()

    def _attach(self, path: str | Path, draw: np.random.Generator) -> None:
        lacking = begin_weights(self.graph, self.shapes, read_weights(path), str(path), draw)
        if lacking:
            self._settings.log.info(f"{path} has no weights for {', '.join(lacking)}; they keep what they had")

    def _declared(self) -> dict[str, Shape]:
        return {
            value.blob: shape
            for name, source in self.sources.items()
            for value, shape in zip(self.graph.node(name).outputs, source.shapes, strict=True)
        }


def mean_scores(passes: Sequence[Sequence[Score]]) -> list[Score]:
    """The mean of each number of the outputs over several batches, summed in float32 as Caffe does it."""
    if not passes:
        return []
    sums = np.zeros(len(passes[0]), np.float32)
    for scores in passes:
        sums += np.array([score.value for score in scores], np.float32)
    means = sums / np.float32(len(passes))
    return [replace(score, value=float(mean)) for score, mean in zip(passes[0], means, strict=True)]
