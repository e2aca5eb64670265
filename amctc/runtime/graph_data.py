"""Data for the inputs of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import read_inputs
from amctc.runtime.sampling import check_sampling

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess


def open_for(
    graph: Graph,
    data: Any,
    preprocess: str | None = None,
    max_samples: int | None = None,
    sample_seed: int | None = None,
) -> Dataset:
    """The data set of `data` for what the graph reads, of its shapes and element types.

    At most `max_samples` of them, chosen by `sample_seed`, see `Dataset.sample`. Raises as `Dataset.open` and `sample`.
    """
    check_sampling(max_samples, sample_seed)
    read = read_inputs(graph)
    inputs = {
        name: value.shape or op_def(value.producer).free_shape(value.producer) or () for name, value in read.items()
    }
    dtypes = {name: value.dtype for name, value in read.items()}
    dataset = Dataset.open(data, inputs=inputs, preprocess=_steps(preprocess) if preprocess else None, dtypes=dtypes)
    return dataset if max_samples is None else dataset.sample(max_samples, sample_seed)


def _steps(text: str) -> Preprocess:
    from amctc.runtime.preprocess import Preprocess  # many classes, and most data are as they should be

    return Preprocess.parse(text)
