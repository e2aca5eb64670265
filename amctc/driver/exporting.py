"""Exporting: a float model, written for another framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector, did_you_mean, error
from amctc.dialects.shapes import annotate_shapes
from amctc.driver.emit import emission_of, emit_files, find_targets
from amctc.driver.passes import Again, build_pipeline, check_needs, run_pipeline
from amctc.driver.quantize import float_model
from amctc.frontends import Reading
from amctc.ir import Graph
from amctc.ir.node import Shape
from amctc.output import write_files
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.plugins import load_plugins
from amctc.runtime.executor import read_inputs


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote, the graph of it, and what the passes did, if any ran."""

    files: tuple[Path, ...]
    graph: Graph
    pipeline: str | None
    runs: tuple[PassRun, ...]


def export(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    target: str | Sequence[str],
    output: str | Path,
    pipeline: str | None = None,
    plugins: Sequence[str | Path] = (),
    shapes: Mapping[str, Shape] | None = None,
    instruments: Sequence[Instrument] = (),
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> ExportResult:
    """Write a float model for the targets, as it is or after a pipeline of passes that need no policy.

    `output` is the prefix of the files' names, `target` the text of `--target`, or several such texts. `shapes` are
    those of inputs, by name, where the model leaves sizes open and a target wants them. Warnings go to `collector`.
    Raises `DiagnosticError` for mistakes in any of the inputs; no file has been touched then.
    """
    load_plugins(plugins)
    told = collector if collector is not None else Collector()
    emitters = find_targets(target)
    steps = None if pipeline is None else build_pipeline(pipeline)
    if steps is not None:
        check_needs(steps, calibration=False, record=False, policy=False)

    def begin(told: Collector) -> tuple[Graph, Context]:
        graph = float_model(model, weights, told, reading)
        if shapes:
            _take_shapes(graph, shapes)
        return graph, Context(collector=told)

    graph, context = begin(told)
    runs: tuple[PassRun, ...] = ()
    if steps is not None:
        again = Again(lambda: begin(Collector()), tuple(plugins))
        runs = run_pipeline(steps, graph, context, again, instruments)
    emission = emission_of(None, str(steps) if steps is not None else None)
    files = emit_files(emitters, graph, output, emission)
    write_files(files)
    return ExportResult(tuple(files), graph, None if steps is None else str(steps), runs)


def _take_shapes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Give inputs these shapes. Raises `DiagnosticError` (AM714) for a name that no input has."""
    inputs = read_inputs(graph)
    for name in shapes:
        if name not in inputs:
            help = did_you_mean(name, inputs) or f"its inputs are {', '.join(f'`{each}`' for each in inputs)}"
            raise error("AM714", f"the model has no input `{name}`", help=help)
    annotate_shapes(graph, shapes)
