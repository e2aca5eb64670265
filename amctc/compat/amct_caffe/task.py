"""What `init` returns: the files of one quantization, what the config means, and the graph as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from amctc.compat.amct_caffe import arguments, log
from amctc.diagnostics import Collector, error
from amctc.driver.passes import Again, build_pipeline, run_pipeline
from amctc.driver.quantize import float_model
from amctc.ir import Graph as NetGraph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, not_yet_available, resolve
from amctc.records.scale_record import ScaleRecord


class Stage(IntEnum):
    """How far a quantization has come."""

    INITIALIZED = 0
    WEIGHTS = 1
    """The weights are quantized, and their factors are in the record."""
    ACTIVATIONS = 2
    """The calibration model is written."""


LAST_PASS = {Stage.WEIGHTS: "quantize-weights", Stage.ACTIVATIONS: "observe"}
"""The pass of the usual pipeline after which the graph is at a stage."""


@dataclass(frozen=True)
class Files:
    """The files of a quantization, whatever folder is the current one later."""

    config: Path
    model: Path
    weights: Path
    record: Path

    @classmethod
    def of(cls, config: object, model: object, weights: object, record: object) -> Files:
        """Raises `DiagnosticError` (AM630, AM631) for what is no path of a file."""
        given = {
            "config_file": config,
            "model_file": model,
            "weights_file": weights,
            "scale_offset_record_file": record,
        }
        return cls(*(Path(arguments.path(name, value)).absolute() for name, value in given.items()))


@dataclass(eq=False)
class Graph:
    """The graph of the user's model on its way to a quantized one; made by `init` or `resume`.

    Nothing in it is needed to go on in another process: `resume` makes an equal one from the files.
    """

    files: Files
    stage: Stage = Stage.INITIALIZED
    net: NetGraph | None = None
    context: Context = field(default_factory=Context)
    done: int = 0
    """Passes that `net` has been through."""

    @property
    def policy(self) -> ResolvedPolicy:
        return self.context.need_policy()

    def read(self) -> None:
        """Read the files; raises `DiagnosticError` for every mistake in them."""
        self.net, self.context = begin(self.files)
        self.done = 0

    def advance(self, stage: Stage) -> NetGraph:
        """The graph at a later stage, or from the files again at this one or an earlier."""
        pipeline = build_pipeline(None, self.policy.passes)
        last = pipeline.place_of(LAST_PASS[stage])
        end = len(pipeline.steps) if last is None else last + 1
        if self.net is None or self.done >= end:
            self.read()
        net, self.net = self.net, None  # what a failure leaves behind is not gone on with
        if net is None:
            raise ValueError("reading gives a graph")
        run_steps(pipeline, (self.done, end), net, self.context, self.files)
        self.net, self.done = net, end
        return net


def begin(files: Files, record: ScaleRecord | None = None) -> tuple[NetGraph, Context]:
    """The float graph, and what its passes are to look at. Raises `DiagnosticError` for mistakes in the files."""
    load_plugins()
    collector = Collector()
    rules = Policy.from_file(files.config)
    net = float_model(files.model, files.weights, collector, {})
    resolved = resolve(rules, net)
    collector.extend(resolved.warnings)
    collector.extend(not_yet_available(resolved))
    collector.raise_errors()
    return net, Context(resolved, collector=collector, record=record)


def run_steps(pipeline: Pipeline, part: tuple[int, int], net: NetGraph, context: Context, files: Files) -> None:
    """Run a part of a pipeline on the graph, with a line in the log for each pass; raises as `run_pipeline` does."""
    start, end = part
    known = len(context.collector.warnings)

    def until() -> tuple[NetGraph, Context]:
        """The graph as it was before this part, for a reproducer."""
        net, fresh = begin(files, context.record)
        Pipeline(pipeline.steps[:start]).run(net, fresh)
        return net, fresh

    run_pipeline(Pipeline(pipeline.steps[start:end]), net, context, Again(until), (LoggedPasses(),))
    log.tell("Optimizer", context.collector.warnings[known:])


def graph_of(value: object) -> Graph:
    """Raises `DiagnosticError` AM630 for what `init` has not returned."""
    if isinstance(value, Graph):
        return value
    given = "None" if value is None else f"of type `{type(value).__name__}`"
    help = "give what `init` returned: `graph = amct.init(…)`"
    raise error("AM630", f"`graph` is {given}, but must be the graph that `init` returns", help=help)


class LoggedPasses(Instrument):
    """A line for each pass, and one for each layer that it changes where somebody wants to know that."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    def before(self, step: Pass, number: int, graph: NetGraph, context: Context) -> None:
        log.info("Optimizer", f"Do {step.name}")
        if log.shows_layers():
            self._before = {node.name: len(node.provenance.changes) for node in graph.nodes}

    def after(self, run: PassRun, graph: NetGraph, context: Context) -> None:
        if run.skipped is not None or not log.shows_layers():
            return
        for node in graph.nodes:
            for change in node.provenance.changes[self._before.get(node.name, 0) :]:
                log.debug(run.name, f'layer:"{node.name}" {change.what}')
