"""update-batchnorm: refresh the statistics of BatchNorm layers on calibration data.

    Given   conv: Convolution (quantized weights) -> bn: BatchNorm (mean, variance, factor)
    Result  conv -> bn: BatchNorm (mean', variance', factor')

With x the input of the layer in one batch, f the moving average fraction, and m = the elements of a channel, each batch
makes

    factor'   = f * factor + 1
    mean'     = f * mean + mean(x)
    variance' = f * variance + m / (m - 1) * var(x)

of the three blobs, as Caffe does in training; meanwhile the layer normalizes with the mean and variance of the batch
itself. Source: Caffe's BatchNorm layer, and the AMCT guide for Caffe (update_bn).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from amctc.diagnostics import Diagnostic, Level
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.pipeline.context import Calibration, Context, Feeds
from amctc.pipeline.pass_ import Pass
from amctc.runtime.batch_statistics import update_statistics
from amctc.text.plain import Plain


@dataclass(frozen=True)
class UpdateBatchNorm(Pass):
    """Refresh the statistics of all BatchNorm layers in one run over calibration data, where the policy says so.

    Clustering moves the weights, and with them the distribution of what the BatchNorm layers see. With `update_bn` the
    graph, whose weights are quantized, runs `bn_update_iterations` batches; data that hold fewer are gone through
    again. A layer's own `moving_average_fraction` wins over `bn_moving_average_fraction`.
    """

    name: ClassVar[str] = "update-batchnorm"
    needs_before: ClassVar[tuple[str, ...]] = ("quantize-weights",)
    before: ClassVar[tuple[str, ...]] = ("fuse-batchnorm", "depthwise-affine", "observe", "calibrate")
    needs_policy: ClassVar[bool] = True
    needs_calibration: ClassVar[bool] = True

    def skip_reason(self, context: Context) -> str | None:
        return None if context.need_policy().update_bn else "the policy does not say `update_bn: true`"

    def batches(self, context: Context) -> int | None:
        settings = context.need_policy().bn_update
        return None if settings is None else settings.iterations

    def run(self, graph: Graph, context: Context) -> bool:
        settings, calibration = context.need_policy().bn_update, context.need_calibration()
        if settings is None:
            return False
        batches = _Cycle(calibration, settings.iterations)
        with _on_batch_statistics(graph):
            found = update_statistics(graph, batches, settings.fraction, calibration.progress)
        for node, statistics in found.items():
            node.weights.update(statistics)
            node.record(self.name, f"mean and variance of {batches.given} batches")
            context.statistics[node.name] = statistics
        if not found:
            context.collector.add(_none_left())
        elif batches.in_data < batches.given:
            context.collector.add(_cycled(batches))
        context.counts["layers"] += len(found)
        return bool(found)


@contextmanager
def _on_batch_statistics(graph: Graph) -> Generator[None]:
    """Let every BatchNorm normalize by its own input, for a while."""
    attrs: dict[Node, dict[str, Plain]] = {}
    for node in graph.nodes:
        trait = op_def(node).statistics
        if trait is not None:
            attrs[node] = dict(node.attrs)
            trait.use_batch(node)
    try:
        yield
    finally:
        for node, kept in attrs.items():
            node.attrs.clear()
            node.attrs.update(kept)


class _Cycle:
    """So many batches of the data, which are begun again where they end."""

    def __init__(self, calibration: Calibration, wanted: int) -> None:
        self._calibration = calibration
        self._wanted = wanted
        self.given = 0
        self.in_data = 0
        """How many different batches there were."""

    def __iter__(self) -> Iterator[Feeds]:
        while self.given < self._wanted:
            begun = self.given
            for feeds in self._calibration.at_most(self._wanted - self.given):
                self.given += 1
                yield feeds
            self.in_data = max(self.in_data, self.given - begun)
            if self.given == begun:
                return


def _none_left() -> Diagnostic:
    message = "`update_bn: true` has no effect, as no BatchNorm layer is left when `update-batchnorm` runs"
    help = "take passes that fold them out of the pipeline before it"
    return Diagnostic("AM514", message, Level.WARNING, help=help)


def _cycled(batches: _Cycle) -> Diagnostic:
    count = f"{batches.in_data} batch{'es' if batches.in_data > 1 else ''}"
    message = f"`update_bn` runs {batches.given} batches and the data hold {count}; they were gone through again"
    help = "give more data, or write a lower `bn_update_iterations`"
    return Diagnostic("AM512", message, Level.WARNING, help=help)
