"""A GE graph file in, a quantized one out: what `amctc calibrate-ge` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from amctc.diagnostics import Collector
from amctc.driver.emit import emission_of, emit_files, find_targets
from amctc.driver.ge.calibrate import GeCalibration, calibrate_ge
from amctc.driver.ge.settings import read_settings
from amctc.driver.statistics import statistics_file
from amctc.frontends.ge import load_ge
from amctc.output import write_files
from amctc.pipeline.instrument import Instrument
from amctc.progress import Progress
from amctc.targets.ge.target import GeTarget

_AIR: Final = ".air"


@dataclass(frozen=True)
class GeFiles:
    """What was written, and the calibration behind it."""

    files: tuple[Path, ...]
    made: GeCalibration


def calibrate_ge_file(
    model: str | Path,
    configs: Iterable[tuple[str, str]],
    output: str | Path,
    *,
    collector: Collector | None = None,
    instruments: Sequence[Instrument] = (),
    progress: Progress | None = None,
) -> GeFiles:
    """Quantize a `.air` file as the keys of `aclgrphCalibration` say.

    `output` is a name that ends in `.air`, of the only file then, or the prefix of those that target `ge` writes.
    Warnings and notes go to `collector`. Raises `DiagnosticError` for mistakes in any of the inputs; no file has been
    touched then.
    """
    told = collector if collector is not None else Collector()
    settings = read_settings(configs, told)
    made = calibrate_ge(
        lambda own: load_ge(model, own),
        settings,
        file=str(model),
        collector=told,
        instruments=instruments,
        progress=progress,
    )
    files = _files(made, output)
    write_files(files)
    return GeFiles(tuple(files), made)


def _files(made: GeCalibration, output: str | Path) -> Mapping[Path, bytes]:
    emission, others = emission_of(made.rules, made.pipeline), statistics_file(made.context)
    if not str(output).lower().endswith(_AIR):
        return {**emit_files(find_targets("ge"), made.graph, output, emission), **others}
    written = GeTarget().emit_with(made.graph, emission)
    graph = next(content for name, content in written.items() if name.endswith(_AIR))
    return {Path(output): graph, **others}
