"""Data for the inputs of a graph."""

from __future__ import annotations

from typing import Any

from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import read_inputs
from amctc.runtime.preprocess import Preprocess


def open_for(graph: Graph, data: Any, preprocess: str | None = None) -> Dataset:
    """The data set of `data` for what the graph reads, of its shapes and element types; raises as `Dataset.open`."""
    read = read_inputs(graph)
    inputs = {
        name: value.shape or op_def(value.producer).free_shape(value.producer) or () for name, value in read.items()
    }
    dtypes = {name: value.dtype for name, value in read.items()}
    steps = Preprocess.parse(preprocess) if preprocess else None
    return Dataset.open(data, inputs=inputs, preprocess=steps, dtypes=dtypes)
