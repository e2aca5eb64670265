"""The only place that knows every stage: files in, quantized files out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, did_you_mean, error
from amctc.dialects.caffe.schema import merge_caffe_proto
from amctc.dialects.shapes import node_error
from amctc.dialects.table import is_custom, op_def
from amctc.frontends import load_model
from amctc.ir import Graph, Value
from amctc.output import output_paths, write_files
from amctc.passes import PIPELINES
from amctc.pipeline.context import Calibration, Context, Refusal
from amctc.pipeline.pipeline import Pipeline, Timing, check_complete, parse_pipeline
from amctc.policy import ExplainRow, Policy, ResolvedPolicy, not_yet_available, resolve, to_json
from amctc.policy import explain as explain_policy
from amctc.progress import Progress, Silent
from amctc.registry import builtin_registry
from amctc.runtime.datasets import Dataset, require_batches
from amctc.runtime.executor import Executor, blob_values, find_blob, graph_inputs
from amctc.runtime.labels import Labels
from amctc.runtime.metrics import Accuracy
from amctc.runtime.preprocess import Preprocess
from amctc.source import SourceFile
from amctc.targets.caffe.uninplace import uninplaced


@dataclass(frozen=True)
class CompileResult:
    """What a compilation made: the files, the quantized graph, the resolved policy, and what was said on the way."""

    files: tuple[Path, ...]
    graph: Graph
    policy: ResolvedPolicy
    pipeline: str
    timings: tuple[Timing, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[Diagnostic, ...]


def compile(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path | Policy,
    data: Any,
    target: str | Sequence[str] = "caffe",
    output: str | Path,
    pipeline: str | None = None,
    batch_size: int | None = None,
    preprocess: str | None = None,
    progress: Progress | None = None,
    custom_protos: Sequence[str | Path] = (),
) -> CompileResult:
    """Quantize a model as a policy says and write it for the targets.

    `data` is a path (`.npz`, `.npy`, a folder or glob of images) or an iterable of arrays; `output`
    is the prefix of the files' names. Raises `DiagnosticError` for mistakes in any of the inputs;
    no file has been touched then.
    """
    report = progress or Silent()
    collector = Collector()
    targets = [_target(name) for name in ([target] if isinstance(target, str) else target)]
    steps = _pipeline(pipeline)
    graph = load_model(model, weights, collector, custom_protos=custom_protos)
    _refuse_quantized(graph, str(model))
    _require_weights(graph)
    resolved = resolve(policy if isinstance(policy, Policy) else Policy.from_file(policy), graph)
    collector.extend(resolved.warnings)
    collector.extend(not_yet_available(resolved))
    collector.raise_errors()
    dataset = open_dataset(graph, data, preprocess)
    calibration = _calibration(graph, dataset, resolved.batch_num, batch_size, report)
    context = Context(resolved, calibration, collector)
    timings = steps.run(graph, context, started=lambda step: report.begin(step.name, _batches(step.name, calibration)))
    report.end()
    if all(node.quant is None for node in graph.nodes):
        message = f"the pipeline `{steps}` quantizes nothing; the files hold the float model"
        collector.add(Diagnostic("AM506", message, level=Level.WARNING))
    files: dict[Path, bytes] = {}
    for emitter in targets:
        files |= output_paths(output, emitter.emit(graph))
    write_files(files)
    return CompileResult(
        files=tuple(files),
        graph=graph,
        policy=resolved,
        pipeline=str(steps),
        timings=timings,
        refusals=tuple(context.refusals),
        warnings=collector.warnings,
    )


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
    """Top-1 and top-5 accuracy of the graph's first output over a whole data set."""
    report = progress or Silent()
    accuracy = Accuracy()
    done = 0
    report.begin("evaluate", len(dataset))
    for results in run_batches(graph, dataset, [graph.outputs[0]], batch_size):
        scores = results[graph.outputs[0]]
        accuracy.update(scores, labels.values[done : done + len(scores)])
        done += len(scores)
        report.step(done)
    report.end()
    return accuracy


def open_dataset(graph: Graph, data: Any, preprocess: str | None = None) -> Dataset:
    """Data for the inputs of a graph; see docs/data.md for what it may be."""
    inputs = {name: value.shape or () for name, value in graph_inputs(graph).items()}
    return Dataset.open(data, inputs=inputs, preprocess=Preprocess.parse(preprocess) if preprocess else None)


def declared_batch(graph: Graph) -> int:
    """The first dimension of the first input as the model file says it."""
    for value in graph_inputs(graph).values():
        if value.shape:
            return value.shape[0]
    return 1


def _wanted(graph: Graph, blobs: Sequence[str] | None) -> dict[str, Value]:
    by_name = blob_values(graph)
    if blobs is None:
        return {value.blob: value for value in graph.outputs}
    if list(blobs) == ["all"]:
        return by_name
    return {name: find_blob(by_name, name) for name in blobs}


def _target(name: str) -> Any:
    registry = builtin_registry()
    if name not in registry.targets:
        help = did_you_mean(name, registry.targets) or f"there are: {', '.join(registry.targets)}"
        raise error("AM701", f"there is no target named `{name}`", help=help)
    return registry.targets[name].load()()


def _pipeline(text: str | None) -> Pipeline:
    name = "ptq" if text is None else text
    written = PIPELINES.get(name, name)
    pipeline = parse_pipeline(SourceFile("--pipeline", written), builtin_registry())
    check_complete(pipeline)
    return pipeline


def _refuse_quantized(graph: Graph, file: str) -> None:
    for node in graph.nodes:
        integers = not is_custom(node) and any(array.dtype.kind != "f" for array in node.weights.values())
        recurrent = op_def(node).recurrent
        if node.dialect == "quant" or integers or (recurrent is not None and recurrent.is_quantized(node)):
            what = "its weights are integers" if integers else f"it is a {node.type} layer"
            help = "give the float model"
            message = f"this model is quantized already: layer `{node.name}`, {what}"
            origin = node.origin
            span = origin.span if origin is not None else None
            raise error("AM332", message, span, file=file, help=help)


def _require_weights(graph: Graph) -> None:
    for node in graph.nodes:
        shapes = [value.shape for value in node.inputs if value.shape is not None]
        if len(shapes) != len(node.inputs):
            continue  # only running tells what it needs
        wanted = op_def(node).weight_shapes(node, tuple(shapes))
        if wanted and not node.weights:
            help = "give the weights file too, after the model"
            raise DiagnosticError(node_error("AM420", node, "has no weights", help))


def _calibration(
    graph: Graph, dataset: Dataset, batch_num: int, batch_size: int | None, report: Progress
) -> Calibration:
    size = batch_size or declared_batch(graph)
    require_batches(dataset, size, batch_num)
    return Calibration(lambda: dataset.batches(size, limit=batch_num), batch_num, report.step)


def _batches(name: str, calibration: Calibration) -> int | None:
    return calibration.batch_num if name == "calibrate" else None


def explain(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path,
    layer: str | None = None,
    custom_protos: Sequence[str | Path] = (),
) -> list[ExplainRow]:
    """What every layer (or one) gets from a policy, and the rule behind each value."""
    graph = load_model(model, weights, custom_protos=custom_protos)
    return explain_policy(resolve(Policy.from_file(policy), graph), layer)


def write_config(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path | None = None,
    output: Path,
    custom_protos: Sequence[str | Path] = (),
) -> None:
    """Write the full JSON layer config of a model, with the defaults or with what a policy says."""
    graph = load_model(model, weights, custom_protos=custom_protos)
    resolved = resolve(Policy.from_file(policy) if policy is not None else Policy(), graph)
    write_files({output: to_json(resolved).encode()})


def uninplace_model(
    model: str | Path, output: str | Path, custom_protos: Sequence[str | Path] = ()
) -> tuple[Diagnostic, ...]:
    """Write a Caffe net in which every layer has a top of its own; only layers of phase TEST are kept.

    Gives the warnings. Raises `DiagnosticError` where the net cannot be read or written.
    """
    collector = Collector()
    graph = load_model(model, collector=collector, custom_protos=custom_protos)
    write_files({Path(output): uninplaced(graph, collector).encode()})
    return collector.warnings


def merge_proto(
    custom_protos: Sequence[str | Path], *, caffe_proto: str | Path | None = None, output: str | Path
) -> tuple[Diagnostic, ...]:
    """Write a caffe.proto with AMCT's layers and the users' in it.

    `caffe_proto` is the one to begin with; the default is Caffe's with ATC's layers. Gives the
    warnings. Raises `DiagnosticError` (AM1xx) with every clash, and AM700 for an output that cannot be written.
    """
    collector = Collector()
    write_files({Path(output): merge_caffe_proto(custom_protos, caffe_proto, collector).encode()})
    return collector.warnings


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
    custom_protos: Sequence[str | Path] = (),
) -> dict[str, tuple[int, ...]]:
    """Run a model over data and write its blobs to an `.npz`; gives the shape of each array."""
    graph = load_model(model, weights, custom_protos=custom_protos)
    arrays = run_blobs(graph, open_dataset(graph, data, preprocess), blobs, batch_size, progress)
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
    custom_protos: Sequence[str | Path] = (),
) -> Accuracy:
    """Top-1 and top-5 accuracy of a model on labelled data."""
    graph = load_model(model, weights, custom_protos=custom_protos)
    dataset = open_dataset(graph, data, preprocess)
    return evaluate(graph, dataset, Labels.open(labels, dataset), batch_size, progress)
