"""Quantizing a graph in memory, for the tests of passes and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.driver.emit import emit_files, find_targets
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.output import write_files
from amctc.passes import PIPELINES
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.emission import Emission
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile

Feeds: TypeAlias = Mapping[str, NDArray[np.float32]]


def run_passes(graph: Graph, passes: str, policy: str = "", batches: Sequence[Feeds] = ()) -> Context:
    """Run passes on a graph under a policy text; the context tells what was refused."""
    resolved = resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
    context = Context(resolved, Calibration(lambda: iter(batches), len(batches)))
    parse_pipeline(SourceFile("pipeline", passes), builtin_registry()).run(graph, context)
    return context


def quantize(graph: Graph, batches: Sequence[Feeds], policy: str = "") -> Graph:
    """The same graph, quantized by the default pipeline."""
    run_passes(graph, PIPELINES["ptq"], policy, batches)
    return graph


def write_and_read(graph: Graph, folder: Path) -> tuple[Graph, Graph]:
    """The deploy and the fake-quant model of a quantized graph, written and read back."""
    write_files(emit_files(find_targets("caffe"), graph, folder / "net", Emission()))
    deploy, fake = (
        load_model(folder / f"net_{kind}_model.prototxt", folder / f"net_{kind}_weights.caffemodel")
        for kind in ("deploy", "fake_quant")
    )
    return deploy, fake


def random_feeds(graph: Graph, seed: int, count: int = 1) -> list[dict[str, NDArray[np.float32]]]:
    """Normally distributed batches for the inputs of a graph."""
    rng = np.random.default_rng(seed)
    inputs = [value for node in graph.nodes if not node.inputs for value in node.outputs]
    return [
        {value.blob: rng.normal(size=value.shape or ()).astype(np.float32) for value in inputs} for _ in range(count)
    ]


def outputs(graph: Graph, feeds: Feeds) -> dict[str, NDArray[np.float32]]:
    """The outputs of a graph by blob name."""
    found = Executor(graph).run(feeds)
    return {value.blob: array for value, array in found.items()}
