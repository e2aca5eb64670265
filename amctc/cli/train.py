"""The command that trains: train."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from amctc.driver.training import TrainingOptions


def train(
    solver: Annotated[Path, typer.Option("--solver", "-s", help="the solver.prototxt", show_default=False)],
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", "-w", help="a caffemodel to begin with; may be repeated", show_default=False),
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="a .solverstate to go on from", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="train quantized as this .cfg or JSON config says, and save the results"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="prefix of the results, with --config [default: that of the snapshots]"),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", "-d", metavar="LAYER=FILE.npz", help="data of a MemoryData or Input layer; may be repeated"
        ),
    ] = None,
    test_data: Annotated[
        list[str] | None,
        typer.Option("--test-data", metavar="LAYER=FILE.npz", help="as --data, for the test nets [default: the same]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1 [default: as the solver file says]")
    ] = None,
    log: Annotated[Path | None, typer.Option("--log", help="write the log into this file [default: to stderr]")] = None,
    curve: Annotated[Path | None, typer.Option("--curve", help="draw the losses into this SVG file")] = None,
) -> None:
    """Train the Caffe net of a solver file, in floats or quantized. Ctrl-C ends it with a snapshot for --snapshot."""
    from amctc import driver
    from amctc.terminal import progress, say, warnings_of

    if output is not None and config is None:
        raise typer.BadParameter("it names the results of a training with `--config`", param_hint="--output")
    options: TrainingOptions = {
        "weights": weights or (),
        "snapshot": snapshot,
        "data": _named(data or (), "--data"),
        "test_data": _named(test_data or (), "--test-data"),
        "device": device,
        "log": log,
        "curve": curve,
        "write": _to_stderr if log is None else None,
        "progress": progress() if log is not None else None,
    }
    with warnings_of() as collector:
        if config is None:
            done = driver.train(solver, collector=collector, **options)
        else:
            done = driver.train_quantized(solver, config=config, output=output, collector=collector, **options)
    loss = "" if done.loss is None else f", loss {done.loss:g}"
    say(f"{'stopped early after' if done.stopped else 'trained'} {done.iteration} iterations{loss}")
    for path in done.files:
        say(f"  {path}")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _named(given: Sequence[str], option: str) -> dict[str, str]:
    """`LAYER=FILE` entries by layer. A mistake is one of usage."""
    found: dict[str, str] = {}
    for entry in given:
        layer, sign, file = entry.partition("=")
        if not (layer and sign and file):
            raise typer.BadParameter(f"`{entry}` is not LAYER=FILE.npz, as in data=digits.npz", param_hint=option)
        found[layer] = file
    return found
