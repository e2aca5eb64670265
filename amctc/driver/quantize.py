"""Quantizing: a model, a policy and data in, quantized files out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, error
from amctc.dialects.ge import GE
from amctc.dialects.ge.quantizing import quantizes
from amctc.dialects.shapes import annotate_shapes, node_error
from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products
from amctc.driver.data import declared_batch, open_dataset
from amctc.driver.emit import emission_of, emit_files, find_targets
from amctc.driver.how_to_calibrate import EVERY, HowToCalibrate
from amctc.driver.passes import (
    UPDATE,
    Again,
    build_pipeline,
    check_needs,
    pipeline_of_rules,
    run_pipeline,
    usual_pipeline,
    without_rounding,
    without_update,
)
from amctc.driver.statistics import statistics_file
from amctc.frontends import Reading, format_of, load_model
from amctc.ir import Graph
from amctc.output import write_files
from amctc.pipeline.context import Calibration, Context, Feeds, Refusal
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, not_yet_available, resolve
from amctc.policy.dump_dir import check_dump_dir
from amctc.policy.flavours import flavour_of_format
from amctc.progress import Progress, Silent
from amctc.quant.ifmr import IfmrResult
from amctc.reproducer import DataReference
from amctc.runtime.calibration_data import CalibrationData
from amctc.runtime.datasets import Dataset, require_batches
from amctc.runtime.executor import read_inputs
from amctc.targets.onnx.metadata import form_of

if TYPE_CHECKING:
    from amctc.driver.calibrating import Calibrating


@dataclass(frozen=True)
class CompileResult:
    """What a compilation made: the files, the quantized graph, the resolved policy, and what was said on the way."""

    files: tuple[Path, ...]
    graph: Graph
    policy: ResolvedPolicy
    pipeline: str
    runs: tuple[PassRun, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[Diagnostic, ...]
    kv_cache: Mapping[str, tuple[IfmrResult, ...]] = field(default_factory=dict[str, tuple[IfmrResult, ...]])
    """Of a policy of KV-cache quantization: the grids of each layer's output, one, or one for each channel."""


def compile(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path | Policy,
    data: Any,
    target: str | Sequence[str] | None = None,
    output: str | Path,
    pipeline: str | None = None,
    plugins: Sequence[str | Path] = (),
    instruments: Sequence[Instrument] = (),
    batch_size: int | None = None,
    preprocess: str | None = None,
    max_samples: int | None = None,
    sample_seed: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    checkpoint: str | Path | None = None,
    start_over: bool = False,
    checkpoint_every: float = EVERY,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> CompileResult:
    """Quantize a model as a policy says and write it for the targets.

    `data` is a path (`.npz`, `.npy`, a folder or glob of images) or an iterable of arrays; `output`
    is the prefix of the files' names. `target` is the text of `--target`, or several such texts:
    `caffe,other{level=2}`; without it the model's own format is written. `plugins` are Python files
    that register passes, targets and more. At most `max_samples` of the data are used: the first, or with a
    `sample_seed` a random choice of them. `instruments` watch the passes run. Calibration is done by so many `workers`
    on this machine, or by those of the Dask cluster at `scheduler`, or by this process. What it has seen is written
    to the file `checkpoint` every so many seconds, and read from there unless to `start_over`; the file is removed at
    the end. See docs/scale-out.md. A policy of KV-cache quantization writes a record and a report, and no model: see
    docs/kv-cache.md. Raises `DiagnosticError` for mistakes in any of the inputs; no file but the
    checkpoint has been touched then.
    """
    how = HowToCalibrate(
        workers, scheduler, None if checkpoint is None else Path(checkpoint), start_over, checkpoint_every
    )
    how.check()
    report = progress or Silent()
    collector = Collector()
    load_plugins(plugins)
    own = format_of(model)
    usual = flavour_of_format(own)
    rules = policy if isinstance(policy, Policy) else Policy.from_file(policy, usual=usual)
    for_cache = rules.kv_cache is not None
    if for_cache and target is not None:
        message = "a policy of KV-cache quantization leaves the model as it is, so that no target is written"
        raise error("AM287", message, help="leave `--target` out; the record is for the runtime that keeps the cache")
    emitters = () if for_cache else find_targets(own if target is None else target)
    steps = build_pipeline(pipeline_of_rules(rules) if pipeline is None else pipeline, rules.passes)
    check_needs(steps, calibration=True, record=False)

    def begin(told: Collector, calibrating: Progress) -> tuple[Graph, Context, CalibrationData]:
        graph = float_model(model, weights, told, reading)
        resolved = resolve(rules, graph)
        told.extend(resolved.warnings)
        told.extend(not_yet_available(resolved))
        if (folder := check_dump_dir(resolved)) is not None:
            told.add(folder)
        told.raise_errors()
        dataset = open_dataset(graph, data, preprocess, told, max_samples=max_samples, sample_seed=sample_seed)
        _take_shapes(graph, dataset)
        _need_anew(dataset, resolved, steps)
        samples = _calibration_data(graph, dataset, resolved, batch_size)
        how.check_data(samples)
        calibration = _calibration(samples, resolved, calibrating)
        return graph, Context(resolved, calibration, told), samples

    def begin_again() -> tuple[Graph, Context]:
        graph, context, _ = begin(Collector(), Silent())
        return graph, context

    graph, context, samples = begin(collector, report)
    if pipeline is None:
        steps = build_pipeline(usual_pipeline(context.need_policy()), rules.passes)
    for without in (without_update, without_rounding):
        if (unused := without(steps, context.need_policy())) is not None:
            collector.add(unused)
    reference = _reference(data, preprocess, batch_size or declared_batch(graph), max_samples, sample_seed)
    again = Again(begin_again, tuple(plugins), reference)
    made_of = [path for path in (model, weights, *reading.get("custom_protos", ())) if path is not None]
    calibrating: Calibrating | None = None
    if not how.is_plain:
        from amctc.driver.calibrating import Calibrating  # with shards and checkpoints, which few calls ask for
        from amctc.driver.checkpoint import calibration_identity

        words = f"{context.need_calibration().batch_num} of {samples.batch_size}"
        calibrating = Calibrating(
            how,
            samples,
            collector,
            report.step,
            lambda data: calibration_identity(made_of, rules, str(steps), plugins, data, words),
            plugins,
        )
        context = replace(context, calibration=replace(context.need_calibration(), observe=calibrating.observe))
    runs = run_pipeline(steps, graph, context, again, (ReportedPasses(report), *instruments))
    report.end()
    if not for_cache and all(node.quant is None for node in graph.nodes):
        message = f"the pipeline `{steps}` quantizes nothing; the files hold the float model"
        collector.add(Diagnostic("AM506", message, level=Level.WARNING))
    if for_cache:
        from amctc.driver.kv_cache import kv_cache_files

        files = kv_cache_files(graph, context.kv_cache, context.need_policy(), output)
    else:
        files = {**emit_files(emitters, graph, output, emission_of(rules, str(steps))), **statistics_file(context)}
    write_files(files)
    if calibrating is not None:
        calibrating.finish()
    return CompileResult(
        files=tuple(files),
        graph=graph,
        policy=context.need_policy(),
        pipeline=str(steps),
        runs=runs,
        refusals=tuple(context.refusals),
        warnings=collector.warnings,
        kv_cache=context.kv_cache,
    )


def float_model(model: str | Path, weights: str | Path | None, collector: Collector, reading: Reading) -> Graph:
    """A float model with its weights; raises `DiagnosticError` (AM332) for one that is quantized already."""
    graph = load_model(model, weights, collector, **reading)
    refuse_quantized(graph, str(model))
    require_weights(graph)
    return graph


def refuse_quantized(graph: Graph, file: str) -> None:
    """Raise `DiagnosticError` (AM332) for a graph that is quantized already; `file` is its name in the message."""
    for node in graph.nodes:
        integers = any(
            node.weights[product.weight].dtype.kind != "f"
            for product in inner_products(node)
            if product.weight in node.weights
        )
        recurrent = op_def(node).recurrent
        if (
            node.dialect == "quant"
            or op_def(node).integer
            or (node.dialect == GE and quantizes(node.type))
            or integers
            or (recurrent is not None and recurrent.is_quantized(node))
        ):
            what = "its weights are integers" if integers else f"its type is {node.type}"
            help = "give the float model"
            message = f"this model is quantized already: layer `{node.name}`, {what}"
            origin = node.origin
            span = origin.span if origin is not None else None
            raise error("AM332", message, span, file=file, help=help)
    if (form := form_of(graph)) is not None:  # the layers of a fake-quant model do not show it
        message = f"this model is quantized already: amctc wrote it, as `{form}`"
        raise error("AM332", message, file=file, help="give the float model")


def require_weights(graph: Graph) -> None:
    """Raise `DiagnosticError` (AM420) for the first layer that has none, and must."""
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


def _need_anew(dataset: Dataset, policy: ResolvedPolicy, steps: Pipeline) -> None:
    """Raise `DiagnosticError` (AM446) where the data can be gone through only once, and more than one pass does so."""
    if not dataset.once:
        return
    told = Context(policy)
    reading = (step for step in steps.passes if step.needs_calibration and step.skip_reason(told) is None)
    readers = [f"`{step.name}`" for step in reading if step.name != UPDATE]
    if policy.update_bn:
        readers.insert(0, "`update_bn`")
    if len(readers) > 1:
        message = f"{' and '.join(readers)} each go through the data, and an iterator can be read only once"
        raise error("AM446", message, help="give a list, or an object whose `__iter__` starts anew")


def _calibration_data(
    graph: Graph, dataset: Dataset, policy: ResolvedPolicy, batch_size: int | None
) -> CalibrationData:
    size = batch_size or declared_batch(graph)
    wanted = _batches_wanted(dataset, policy, size)
    require_batches(dataset, size, policy.batch_num if wanted is None else wanted)
    return CalibrationData(dataset, size, wanted)


def _calibration(data: CalibrationData, policy: ResolvedPolicy, report: Progress) -> Calibration:
    dataset, size = data.dataset, data.batch_size

    def more(count: int) -> Iterator[Feeds]:
        """Whole batches alone, where it is known how many there are: a short one has statistics of its own."""
        whole = count if dataset.count is None else min(count, dataset.count // size)
        return dataset.batches(size, limit=whole)

    count = policy.batch_num if data.batch_num is None else data.batch_num
    return Calibration(data.batches, count, report.step, more)


def _batches_wanted(dataset: Dataset, policy: ResolvedPolicy, size: int) -> int | None:
    """How many batches the observers are to see; None for all that there are, of data of unknown length.

    The language of GE has no `batch_num`: all whole batches are used.
    """
    if policy.policy.flavour != flavour_of_format(GE) or policy.policy.batch_num is not None:
        return policy.batch_num
    return None if dataset.count is None else max(dataset.count // size, 1)


def _reference(
    data: Any, preprocess: str | None, batch_size: int, max_samples: int | None, sample_seed: int | None
) -> DataReference | None:
    """Where the data lie; None for those that have no name."""
    if not isinstance(data, str | Path):
        return None
    return DataReference(str(data), preprocess, batch_size, max_samples, sample_seed)


@dataclass(frozen=True)
class ReportedPasses(Instrument):
    """Tells which pass begins, and how many batches it will take."""

    report: Progress

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        self.report.begin(step.name, step.batches(context))
