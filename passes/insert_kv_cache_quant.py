"""insert-kv-cache-quant: learn scale and offset of outputs that are kept as keys and values of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import biased_output
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.policy.resolved import KvLayerConfig, ResolvedPolicy
from amctc.quant.channel_observers import grids_of
from amctc.quant.hfmg import HFMG
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observers import USUAL_OBSERVER
from amctc.runtime.calibration import Reader


@dataclass(frozen=True)
class InsertKvCacheQuant(Pass):
    """Observe the outputs that the policy names while calibration data run, and choose a grid of 8 bits for each.

    Where the bias of a layer is added by a layer of its own (a MatMul and an Add), the sum is observed. All observers
    share one run over the data. The graph computes what it computed before: the grids are for the runtime that keeps
    the cache, and go into the record.
    """

    name: ClassVar[str] = "insert-kv-cache-quant"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm", "equalize-layers")
    before: ClassVar[tuple[str, ...]] = ("quantize-weights",)
    needs_policy: ClassVar[bool] = True
    needs_calibration: ClassVar[bool] = True

    def skip_reason(self, context: Context) -> str | None:
        if context.need_policy().kv_cache:
            return None
        return "the policy names no output to be kept: it is none of KV-cache quantization"

    def run(self, graph: Graph, context: Context) -> bool:
        found = _outputs(graph, context.need_policy())
        readers = [_reader(graph, config) for config in found]
        observers = context.need_calibration().observed(graph, readers)
        for config, observer in zip(found, observers, strict=True):
            try:
                grids = grids_of(observer)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            context.kv_cache[config.name] = grids
            graph.node(config.name).record(self.name, _words(grids), str(config.rule))
        context.counts["outputs"] += len(context.kv_cache)
        return bool(context.kv_cache)


def _outputs(graph: Graph, policy: ResolvedPolicy) -> list[KvLayerConfig]:
    """The layers of the policy that are there: passes in front may have taken one out."""
    return [config for name, config in policy.kv_cache.items() if name in graph]


def _reader(graph: Graph, config: KvLayerConfig) -> Reader:
    settings = config.output.settings
    observer = HFMG if config.output.algorithm.value == HFMG else USUAL_OBSERVER
    value = biased_output(graph.node(config.name))
    return Reader(value, settings, config.name, observer, per_channel=config.per_channel)


def _words(grids: tuple[IfmrResult, ...]) -> str:
    if len(grids) == 1:
        (grid,) = grids
        return f"output: scale {grid.scale:.6g}, offset {grid.offset}, candidate {grid.index}"
    scales = [float(grid.scale) for grid in grids]
    return f"output: {len(grids)} channels, scales {min(scales):.6g} … {max(scales):.6g}"
