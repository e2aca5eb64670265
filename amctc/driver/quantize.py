"""Quantizing: a model, a policy and data in, quantized files out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, did_you_mean, error
from amctc.dialects.shapes import annotate_shapes, node_error
from amctc.dialects.table import is_custom, op_def
from amctc.driver.run import declared_batch, open_dataset
from amctc.frontends import Reading, load_model
from amctc.ir import Graph
from amctc.output import output_paths, write_files
from amctc.passes import PIPELINES
from amctc.pipeline.context import Calibration, Context, Refusal
from amctc.pipeline.pipeline import Pipeline, Timing, check_complete, parse_pipeline
from amctc.policy import Policy, ResolvedPolicy, not_yet_available, resolve
from amctc.progress import Progress, Silent
from amctc.registry import builtin_registry
from amctc.runtime.datasets import Dataset, require_batches
from amctc.runtime.executor import read_inputs
from amctc.source import SourceFile


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
    **reading: Unpack[Reading],
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
    graph = load_model(model, weights, collector, **reading)
    _refuse_quantized(graph, str(model))
    _require_weights(graph)
    resolved = resolve(policy if isinstance(policy, Policy) else Policy.from_file(policy), graph)
    collector.extend(resolved.warnings)
    collector.extend(not_yet_available(resolved))
    collector.raise_errors()
    dataset = open_dataset(graph, data, preprocess, collector)
    _take_shapes(graph, dataset)
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
        row = op_def(node)
        needs = row.linear is not None or row.recurrent is not None
        shapes = [value.shape for value in node.inputs if value.shape is not None]
        if len(shapes) == len(node.inputs):  # else only running tells of other layers what they need
            needs = bool(row.weight_shapes(node, tuple(shapes)))
        if needs and not node.weights:
            help = "give the weights file too, after the model"
            raise DiagnosticError(node_error("AM420", node, "has no weights", help))


def _take_shapes(graph: Graph, dataset: Dataset) -> None:
    """The shapes of inputs that the model does not state, from the first sample."""
    unknown = [name for name, value in read_inputs(graph).items() if value.shape is None]
    # Data that can be gone through only once are left for calibration.
    if not unknown or dataset.count is None:
        return
    batch = declared_batch(graph)
    for sample in dataset.batches(1, limit=1):
        annotate_shapes(graph, {name: (batch, *sample[name].shape[1:]) for name in unknown})


def _calibration(
    graph: Graph, dataset: Dataset, batch_num: int, batch_size: int | None, report: Progress
) -> Calibration:
    size = batch_size or declared_batch(graph)
    require_batches(dataset, size, batch_num)
    return Calibration(lambda: dataset.batches(size, limit=batch_num), batch_num, report.step)


def _batches(name: str, calibration: Calibration) -> int | None:
    return calibration.batch_num if name == "calibrate" else None
