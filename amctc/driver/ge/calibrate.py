"""Quantizing a GE graph by what the keys of `aclgrphCalibration` say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from amctc.aipp.read import read_aipp
from amctc.diagnostics import Collector, Diagnostic, Level, error
from amctc.driver.ge.data import open_batches
from amctc.driver.ge.inputs import GeInput, match_inputs, set_outputs
from amctc.driver.ge.settings import GeSettings
from amctc.driver.passes import Again, build_pipeline, check_needs, pipeline_of_rules, run_pipeline, usual_pipeline
from amctc.driver.quantize import ReportedPasses, refuse_quantized, require_weights
from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, Said, not_yet_available, resolve
from amctc.policy.availability import require_post_training
from amctc.policy.dump_dir import check_dump_dir
from amctc.policy.flavours import GE
from amctc.progress import Progress, Silent
from amctc.runtime.datasets import Dataset, require_batches


@dataclass(frozen=True)
class GeCalibration:
    """A quantized graph: the rules that it follows, what its passes looked at, what they did, and the inputs."""

    graph: Graph
    rules: Policy
    context: Context
    pipeline: str
    runs: tuple[PassRun, ...]
    inputs: tuple[GeInput, ...]

    @property
    def policy(self) -> ResolvedPolicy:
        return self.context.need_policy()

    @property
    def batches(self) -> int:
        """How many batches of data there were."""
        return self.context.need_calibration().batch_num

    @property
    def quantized(self) -> int:
        """How many layers are quantized."""
        return sum(node.quant is not None for node in self.graph.nodes)


def calibrate_ge(
    load: Callable[[Collector], Graph],
    settings: GeSettings,
    *,
    file: str,
    collector: Collector | None = None,
    instruments: Sequence[Instrument] = (),
    progress: Progress | None = None,
) -> GeCalibration:
    """The quantized graph of the float graph of the ge dialect that `load` gives, each time anew.

    All batches of the data are gone through, unless the config says `batch_num`. `file` is the graph's name in
    messages. Warnings go to `collector`. Raises `DiagnosticError` for mistakes in the graph (AM332 where it is
    quantized already), the config, the data and the settings.
    """
    told, report = collector if collector is not None else Collector(), progress or Silent()
    load_plugins()
    rules = _rules(settings)
    aipp = read_aipp(settings.aipp_file, told) if settings.aipp_file is not None else ()
    steps = build_pipeline(pipeline_of_rules(rules), rules.passes)
    check_needs(steps, calibration=True, record=False)

    def begin(told: Collector, calibrating: Progress) -> tuple[Graph, Context, tuple[GeInput, ...]]:
        graph = load(told)
        if not len(graph):
            raise error("AM884", "the graph is empty", file=file, help="load a file into it first")
        refuse_quantized(graph, file)
        require_weights(graph)
        set_outputs(graph, settings.outputs)
        inputs = tuple(match_inputs(graph, settings, aipp, told))
        dataset = open_batches(inputs, settings.data)
        count = rules.batch_num.value if rules.batch_num is not None else len(dataset)
        resolved = resolve(replace(rules, batch_num=Said(count)), graph)
        told.extend(resolved.warnings)
        told.extend(not_yet_available(resolved))
        if (folder := check_dump_dir(resolved)) is not None:
            told.add(folder)
        told.raise_errors()
        return graph, Context(resolved, _calibration(dataset, count, calibrating), told), inputs

    def again() -> tuple[Graph, Context]:
        graph, context, _ = begin(Collector(), Silent())
        return graph, context

    graph, context, inputs = begin(told, report)
    steps = build_pipeline(usual_pipeline(context.need_policy()), rules.passes)
    runs = run_pipeline(steps, graph, context, Again(again), (ReportedPasses(report), *instruments))
    report.end()
    made = GeCalibration(graph, rules, context, str(steps), runs, inputs)
    if not made.quantized:
        message = f"the pipeline `{steps}` quantizes nothing; the graph stays float"
        told.add(Diagnostic("AM506", message, level=Level.WARNING))
    return made


def _rules(settings: GeSettings) -> Policy:
    if settings.config_file is None:
        return Policy(flavour=GE)
    rules = Policy.from_file(settings.config_file, usual=GE)
    require_post_training(rules)
    return rules


def _calibration(dataset: Dataset, count: int, progress: Progress) -> Calibration:
    require_batches(dataset, 1, count)
    return Calibration(
        lambda: dataset.batches(1, limit=count),
        count,
        progress.step,
        lambda wanted: dataset.batches(1, limit=min(wanted, len(dataset))),
    )


def nothing_to_quantize(mistakes: Sequence[Diagnostic]) -> bool:
    """Whether all that is wrong is that no layer is left to quantize."""
    errors = [found.code for found in mistakes if found.level is Level.ERROR]
    return bool(errors) and set(errors) == {"AM224"}
