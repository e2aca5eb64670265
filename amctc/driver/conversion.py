"""Converting: a float model and scales that the user has in, quantized files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector
from amctc.driver.emit import emission_of, emit_files, find_targets
from amctc.driver.passes import Again, build_pipeline, check_needs, run_pipeline
from amctc.driver.quantize import CompileResult, float_model
from amctc.frontends import Reading, format_of
from amctc.ir import Graph
from amctc.output import write_files
from amctc.pipeline.context import Context
from amctc.pipeline.emission import Emission
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.plugins import load_plugins
from amctc.policy import resolve
from amctc.records.check_record import validate
from amctc.records.read_record import read_record
from amctc.records.record_policy import policy_of
from amctc.records.scale_record import ScaleRecord

USUAL = "convert"
"""The pipeline that runs where the user names none."""


@dataclass(frozen=True)
class Converted:
    """A float model quantized with given factors: the graph, with what its passes looked at, and what they did."""

    graph: Graph
    context: Context
    pipeline: str
    runs: tuple[PassRun, ...]

    @property
    def emission(self) -> Emission:
        """What the targets get to know of it."""
        return emission_of(None, self.pipeline)


def convert(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    record: str | Path,
    target: str | Sequence[str] | None = None,
    output: str | Path,
    pipeline: str | None = None,
    plugins: Sequence[str | Path] = (),
    instruments: Sequence[Instrument] = (),
    **reading: Unpack[Reading],
) -> CompileResult:
    """Quantize a model with the scales and offsets of a record, and write it for the targets.

    The layers that the record has are quantized, in its bits; no others. `output` is the prefix of the files' names,
    and `target` the text of `--target`, or several such texts; without it the model's own format is written. Raises
    `DiagnosticError` for mistakes in any of the inputs (AM6xx those of the record); no file has been touched then.
    """
    load_plugins(plugins)
    collector = Collector()
    emitters = find_targets(format_of(model) if target is None else target)
    made = converted(
        model,
        weights,
        record=record,
        collector=collector,
        pipeline=pipeline,
        plugins=plugins,
        instruments=instruments,
        **reading,
    )
    files = emit_files(emitters, made.graph, output, made.emission)
    write_files(files)
    return CompileResult(
        files=tuple(files),
        graph=made.graph,
        policy=made.context.need_policy(),
        pipeline=made.pipeline,
        runs=made.runs,
        refusals=tuple(made.context.refusals),
        warnings=collector.warnings,
    )


def converted(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    record: str | Path,
    collector: Collector | None = None,
    pipeline: str | None = None,
    plugins: Sequence[str | Path] = (),
    instruments: Sequence[Instrument] = (),
    **reading: Unpack[Reading],
) -> Converted:
    """What `convert` does before it writes; warnings go to `collector`."""
    told = collector if collector is not None else Collector()
    factors = read_record(record, told)

    def load(collector: Collector) -> Graph:
        return float_model(model, weights, collector, reading)

    return converted_graph(load, factors, told, pipeline=pipeline, plugins=plugins, instruments=instruments)


def converted_graph(
    load: Callable[[Collector], Graph],
    record: ScaleRecord,
    collector: Collector,
    *,
    pipeline: str | None = None,
    plugins: Sequence[str | Path] = (),
    instruments: Sequence[Instrument] = (),
) -> Converted:
    """The float model that `load` gives, each time the same, quantized with the factors of a record."""
    steps = build_pipeline(USUAL if pipeline is None else pipeline)
    check_needs(steps, calibration=False, record=True)
    graph, context = _begin(load, record, collector)
    again = Again(lambda: _begin(load, record, Collector()), tuple(plugins))
    runs = run_pipeline(steps, graph, context, again, instruments)
    return Converted(graph, context, str(steps), runs)


def _begin(load: Callable[[Collector], Graph], record: ScaleRecord, collector: Collector) -> tuple[Graph, Context]:
    graph = load(collector)
    validate(record, graph, collector)
    resolved = resolve(policy_of(record, graph), graph)
    collector.extend(resolved.warnings)
    return graph, Context(resolved, collector=collector, record=record)
