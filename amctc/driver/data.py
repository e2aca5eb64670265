"""The data that a user gives for the inputs of a graph."""

from __future__ import annotations

from typing import Any

from amctc.diagnostics import Collector
from amctc.driver.transformations import untransformed
from amctc.ir import Graph
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import read_inputs
from amctc.runtime.graph_data import open_for


def open_dataset(
    graph: Graph,
    data: Any,
    preprocess: str | None = None,
    collector: Collector | None = None,
    *,
    max_samples: int | None = None,
    sample_seed: int | None = None,
) -> Dataset:
    """Data for the inputs of a graph; see docs/data.md for what it may be. Warnings go to `collector`.

    At most `max_samples` of them: the first, or with a `sample_seed` a random choice (see `Dataset.sample`).
    """
    dataset = open_for(graph, data, preprocess, max_samples, sample_seed)
    if collector is not None and not preprocess:
        collector.extend(untransformed(graph, images=dataset.names is not None))
    return dataset


def declared_batch(graph: Graph) -> int:
    """Samples in a batch as the model file says it: the first dimension of its inputs, or 1 where these differ."""
    firsts = {value.shape[0] for value in read_inputs(graph).values() if value.shape}
    return firsts.pop() if len(firsts) == 1 else 1
