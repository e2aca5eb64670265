"""What `init` returns: the files of one quantization, what the config means, and the graph as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from amctc.compat import arguments
from amctc.compat.amct_caffe.plan import Plan
from amctc.diagnostics import Collector, Diagnostic, error
from amctc.driver.quantize import float_model
from amctc.ir import Graph as NetGraph
from amctc.pipeline.context import Context
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, not_yet_available, resolve
from amctc.policy.dump_dir import check_dump_dir
from amctc.records.scale_record import ScaleRecord


class Stage(IntEnum):
    """How far a quantization has come."""

    INITIALIZED = 0
    WEIGHTS = 1
    """The weights are quantized, and their factors are in the record."""
    ACTIVATIONS = 2
    """The calibration model is written."""


LAST_PASS = {Stage.WEIGHTS: "quantize-weights", Stage.ACTIVATIONS: "observe"}
"""The pass after which the graph is at a stage."""


@dataclass(frozen=True)
class Files:
    """The files of a quantization, whatever folder is the current one later."""

    config: Path
    model: Path
    weights: Path
    record: Path
    folder: Path
    """The current one at the beginning, which names in the config start from."""

    @classmethod
    def of(cls, config: object, model: object, weights: object, record: object) -> Files:
        """Raises `DiagnosticError` (AM630, AM631) for what is no path of a file."""
        given = {
            "config_file": config,
            "model_file": model,
            "weights_file": weights,
            "scale_offset_record_file": record,
        }
        paths = {name: Path(arguments.path(name, value)).absolute() for name, value in given.items()}
        return cls(
            paths["config_file"],
            paths["model_file"],
            paths["weights_file"],
            paths["scale_offset_record_file"],
            Path.cwd(),
        )


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
    """Steps of the plan that `net` has been through."""

    @property
    def policy(self) -> ResolvedPolicy:
        return self.context.need_policy()

    @property
    def plan(self) -> Plan:
        return Plan.of(self.policy, self.files.record, self.files.folder)

    def read(self) -> None:
        """Read the files; raises `DiagnosticError` for every mistake in them."""
        self.net, self.context = begin(self.files)
        self.done = 0

    def advance(self, stage: Stage) -> NetGraph:
        """The graph at a later stage, or from the files again at this one or an earlier."""
        plan = self.plan
        end = plan.end(LAST_PASS[stage])
        if self.net is None or self.done >= end:
            self.read()
        net, self.net = self.net, None  # what a failure leaves behind is not gone on with
        if net is None:
            raise ValueError("reading gives a graph")
        plan.run((self.done, end), net, self.context, lambda: begin(self.files))
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
    if resolved.has_learned_rounding:
        message = "`ada_quantize` learns from the calibration data, which run in Caffe here"
        collector.add(Diagnostic("AM491", message, file=str(files.config), help="use `arq_quantize`"))
    if (folder := check_dump_dir(resolved, files.folder)) is not None:
        collector.add(folder)
    collector.raise_errors()
    return net, Context(resolved, collector=collector, record=record)


def graph_of(value: object) -> Graph:
    """Raises `DiagnosticError` AM630 for what `init` has not returned."""
    if isinstance(value, Graph):
        return value
    given = "None" if value is None else f"of type `{type(value).__name__}`"
    help = "give what `init` returned: `graph = amct.init(…)`"
    raise error("AM630", f"`graph` is {given}, but must be the graph that `init` returns", help=help)
