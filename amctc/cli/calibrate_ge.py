"""The command that quantizes a GE graph: calibrate-ge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    PrintAfterOption,
    PrintBeforeOption,
    PrintLayerOption,
    SaveTempsOption,
    TimePassesOption,
    watching,
)


def calibrate_ge(
    graph: Annotated[Path, typer.Argument(help="the float graph: a .air file", show_default=False)],
    *,
    config: Annotated[
        list[str],
        typer.Option(
            "--config",
            "-c",
            metavar="KEY=VALUE",
            help="a key of aclgrphCalibration, such as INPUT_SHAPE=data:1,3,224,224; may be repeated",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="the .air file to write, or a prefix of the files to write")
    ],
    time_passes: TimePassesOption = False,
    print_ir_before: PrintBeforeOption = None,
    print_ir_after: PrintAfterOption = None,
    print_ir_layer: PrintLayerOption = None,
    save_temps: SaveTempsOption = None,
) -> None:
    """Quantize GRAPH as aclgrphCalibration does, without a device: the keys are that function's."""
    from amctc import driver
    from amctc.terminal import counted, progress, say, warnings_of

    configs = [_config(text) for text in config]
    with warnings_of() as collector:
        made = driver.calibrate_ge_file(
            graph,
            configs,
            output,
            collector=collector,
            instruments=watching(
                time_passes, print_ir_before, print_ir_after, print_ir_layer, save_temps, check_equivalence=False
            ),
            progress=progress(),
        )
    layers, batches = counted(made.made.quantized, "layer"), made.made.batches
    say(f"quantized {layers} by {batches} {'batch' if batches == 1 else 'batches'} of data")
    for path in made.files:
        say(f"  {path}")


def _config(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise typer.BadParameter(f"`{text}` is no KEY=VALUE", param_hint="--config")
    return key.strip(), value
