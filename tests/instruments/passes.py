"""Passes with mistakes, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import current_registry
from amctc.source import SourceFile
from tests.nets import conv, data, layer
from tests.quantized import Feeds

BATCH_NORM = "batch_norm_param { use_global_stats: true }"
AFFINE = "scale_param { bias_term: true }"


def block(name: str, bottom: str, channels: int) -> str:
    """Convolution, BatchNorm, Scale and ReLU, the last three in place."""
    return (
        conv(name, bottom, channels, more="pad: 1")
        + layer(f"{name}/bn", "BatchNorm", name, name, BATCH_NORM)
        + layer(f"{name}/scale", "Scale", name, name, AFFINE)
        + layer(f"{name}/relu", "ReLU", name, name)
    )


def blocks(count: int) -> str:
    """A chain of such blocks behind the data: 4 * count + 1 layers."""
    bottoms = ["data", *(f"b{number}" for number in range(count))]
    return data() + "".join(block(f"b{number}", bottoms[number], 4) for number in range(count))


def context(batches: Sequence[Feeds] = ()) -> Context:
    """One without a policy."""
    return Context(None, Calibration(lambda: iter(batches), len(batches)) if batches else None)


def run(
    graph: Graph, passes: str | Pipeline, instruments: Sequence[Instrument] = (), batches: Sequence[Feeds] = ()
) -> tuple[PassRun, ...]:
    """Run passes, given as text or as they are."""
    pipeline = parse_pipeline(SourceFile("pipeline", passes), current_registry()) if isinstance(passes, str) else passes
    return pipeline.run(graph, context(batches), instruments)


@dataclass(frozen=True)
class Idle(Pass):
    """Changes nothing."""

    name: ClassVar[str] = "idle"
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class Unwanted(Pass):
    """Is never run."""

    name: ClassVar[str] = "unwanted"

    def skip_reason(self, context: Context) -> str | None:
        return "nobody wants it"

    def run(self, graph: Graph, context: Context) -> bool:
        raise AssertionError


@dataclass(frozen=True)
class Scaling(Pass):
    """Multiplies the bias of one layer: by one number only nothing changes."""

    name: ClassVar[str] = "scaling"
    preserves_numbers: ClassVar[bool] = True
    layer: str = "b1"
    by: float = 1.01

    def run(self, graph: Graph, context: Context) -> bool:
        node = graph.node(self.layer)
        node.weights["bias"] = node.weights["bias"].astype(np.float32) * np.float32(self.by)
        node.record(self.name, f"bias times {self.by:g}")
        return True


@dataclass(frozen=True)
class HonestScaling(Scaling):
    """The same without the claim."""

    name: ClassVar[str] = "honest-scaling"
    preserves_numbers: ClassVar[bool] = False


@dataclass(frozen=True)
class Calling(Pass):
    """Does what a test wants."""

    name: ClassVar[str] = "calling"
    preserves_numbers: ClassVar[bool] = True
    what: Callable[[Graph], None] = lambda graph: None

    def run(self, graph: Graph, context: Context) -> bool:
        self.what(graph)
        return True
