"""Running and scoring models over data sets."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector, error
from amctc.driver.data import declared_batch, open_dataset
from amctc.frontends import Reading, load_model
from amctc.ir import Graph, Value
from amctc.output import write_files
from amctc.progress import Progress, Silent
from amctc.runtime.datasets import Dataset
from amctc.runtime.executor import Executor, all_blobs, blob_values, find_blob
from amctc.runtime.labels import Labels
from amctc.runtime.metrics import Accuracy


def run_blobs(
    graph: Graph,
    dataset: Dataset,
    blobs: Sequence[str] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Run a whole data set and give one array for each blob, batches concatenated on axis 0.

    `blobs` None means the outputs of the graph, `["all"]` every blob under its source name; an
    in-place blob holds its last value, as in Caffe. A blob of no axes (a loss) gives one number a batch.
    Raises `DiagnosticError` (AM409) where batches give arrays that do not fit together.
    """
    report = progress or Silent()
    wanted = _wanted(graph, blobs)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    report.begin("run", len(dataset))
    done = 0
    for results in run_batches(graph, dataset, list(wanted.values()), batch_size):
        for name, value in wanted.items():
            parts[name].append(results[value])
        done = min(done + (batch_size or declared_batch(graph)), len(dataset))
        report.step(done)
    report.end()
    return {name: _joined(name, arrays) for name, arrays in parts.items()}


def _joined(blob: str, batches: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if not batches[0].ndim:
        return np.stack(batches)
    if len({array.shape[1:] for array in batches}) > 1:
        message = f"blob `{blob}` is as large as its data say, so that its batches do not form one array"
        raise error("AM409", message, help="run all samples in one batch: `--batch-size N`, with N their number")
    return np.concatenate(batches)


def run_batches(
    graph: Graph, dataset: Dataset, values: Sequence[Value], batch_size: int | None = None
) -> Iterator[Mapping[Value, NDArray[Any]]]:
    """Run the data set batch by batch; each result maps a value to its array."""
    executor = Executor(graph, fetch=values)
    for feeds in dataset.batches(batch_size or declared_batch(graph)):
        yield executor.run(feeds)


def evaluate(
    graph: Graph, dataset: Dataset, labels: Labels, batch_size: int | None = None, progress: Progress | None = None
) -> Accuracy:
    """Top-1 and top-5 accuracy of the graph's first output over a whole data set.

    Raises `DiagnosticError` (AM466) where that output is not one row of scores for each sample.
    """
    report = progress or Silent()
    accuracy = Accuracy()
    output = graph.outputs[0]
    done, size = 0, batch_size or declared_batch(graph)
    report.begin("evaluate", len(dataset))
    for results in run_batches(graph, dataset, [output], size):
        scores, wanted = results[output], min(size, len(dataset) - done)
        if scores.shape[:1] != (wanted,):
            message = f"the first output `{output.blob}` has the shape {scores.shape} for {wanted} samples"
            raise error("AM466", message, help="accuracy needs a row of scores for each sample")
        accuracy.update(scores, labels.values[done : done + wanted])
        done += wanted
        report.step(done)
    report.end()
    return accuracy


def _wanted(graph: Graph, blobs: Sequence[str] | None) -> dict[str, Value]:
    by_name = blob_values(graph)
    if blobs is None:
        return {value.blob: value for value in graph.outputs}
    if list(blobs) == ["all"]:
        return all_blobs(graph)
    return {name: find_blob(by_name, name) for name in blobs}


def run_to_file(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    data: Any,
    output: Path,
    blobs: Sequence[str] | None = None,
    batch_size: int | None = None,
    preprocess: str | None = None,
    progress: Progress | None = None,
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> dict[str, tuple[int, ...]]:
    """Run a model over data and write its blobs to an `.npz`; gives the shape of each array.

    Warnings go to `collector`.
    """
    graph = load_model(model, weights, collector, **reading)
    dataset = open_dataset(graph, data, preprocess, collector)
    arrays = run_blobs(graph, dataset, blobs, batch_size, progress)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword allow_pickle for an array name
    write_files({output: buffer.getvalue()})
    return {name: array.shape for name, array in arrays.items()}


def evaluate_model(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    data: Any,
    labels: str,
    batch_size: int | None = None,
    preprocess: str | None = None,
    progress: Progress | None = None,
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> Accuracy:
    """Top-1 and top-5 accuracy of a model on labelled data. Warnings go to `collector`."""
    graph = load_model(model, weights, collector, **reading)
    dataset = open_dataset(graph, data, preprocess, collector)
    return evaluate(graph, dataset, Labels.open(labels, dataset), batch_size, progress)
