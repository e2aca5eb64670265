"""Commands about failures of passes: replay, reduce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    PluginOption,
    PrintAfterOption,
    PrintBeforeOption,
    PrintLayerOption,
    SaveTempsOption,
    TimePassesOption,
    watching,
)

FolderArg = Annotated[Path, typer.Argument(help="a folder that a failing pass has left", show_default=False)]


def replay(
    folder: FolderArg,
    *,
    plugin: PluginOption = None,
    time_passes: TimePassesOption = False,
    print_ir_before: PrintBeforeOption = None,
    print_ir_after: PrintAfterOption = None,
    print_ir_layer: PrintLayerOption = None,
    save_temps: SaveTempsOption = None,
) -> None:
    """Run a reproducer; exit status 1 when a pass fails, 0 when none does any more."""
    from amctc.diagnostics import DiagnosticError
    from amctc.reproducer import replay as run_again
    from amctc.terminal import say, show

    instruments = watching(time_passes, print_ir_before, print_ir_after, print_ir_layer, save_temps, False)
    found = run_again(folder, plugins=plugin or (), instruments=instruments)
    if found.broken is None:
        say(f"no pass fails any more; the reproducer tells that {found.recorded}")
        return
    if isinstance(found.broken, DiagnosticError):
        show(found.broken.diagnostics)
    else:
        sys.stderr.write(f"error: {found.broken}\n")
    say("this is the failure of the reproducer" if found.same else f"the reproducer tells of another: {found.recorded}")
    raise typer.Exit(1)


def reduce(
    folder: FolderArg,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the folder to write [default: FOLDER-reduced-N]")
    ] = None,
    plugin: PluginOption = None,
    tries: Annotated[int, typer.Option("--tries", min=1, help="so many smaller graphs are tried at most")] = 1000,
) -> None:
    """Shrink the graph of a reproducer to one that still fails in the same way."""
    from amctc.reproducer import reduce as shrink
    from amctc.terminal import counted, progress, say

    report = progress()
    report.begin("reduce")
    found = shrink(folder, output, plugins=plugin or (), tries=tries)
    report.end()
    say(f"{found.after} of {counted(found.before, 'layer')} left, {counted(found.tries, 'graph')} tried")
    if found.ended:
        say("the limit of `--tries` ended it: there may be a smaller one")
    say(f"wrote {found.folder}")
