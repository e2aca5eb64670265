"""The command that quantizes with given scales: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    CustomProtoOption,
    EquivalenceOption,
    LevelOption,
    ModelArg,
    PluginOption,
    PrintAfterOption,
    PrintBeforeOption,
    PrintLayerOption,
    SaveTempsOption,
    StageOption,
    TargetOption,
    TimePassesOption,
    WeightsArg,
    reading,
    watching,
)


def convert(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    record: Annotated[Path, typer.Option("--record", "-r", help="the record of scales and offsets, as text")],
    output: Annotated[str, typer.Option("--output", "-o", help="prefix of the files to write")],
    target: TargetOption = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="passes to run, as text")] = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    time_passes: TimePassesOption = False,
    print_ir_before: PrintBeforeOption = None,
    print_ir_after: PrintAfterOption = None,
    print_ir_layer: PrintLayerOption = None,
    save_temps: SaveTempsOption = None,
    check_equivalence: EquivalenceOption = False,
) -> None:
    """Quantize MODEL with the scales and offsets of a record; it needs neither policy nor data."""
    from amctc import driver
    from amctc.terminal import say_files, warn

    result = driver.convert(
        model,
        weights,
        record=record,
        target=target,
        output=output,
        pipeline=pipeline,
        plugins=plugin or (),
        instruments=watching(
            time_passes, print_ir_before, print_ir_after, print_ir_layer, save_temps, check_equivalence
        ),
        **reading(custom_proto, stage, level),
    )
    warn(result.warnings)
    say_files(result)
