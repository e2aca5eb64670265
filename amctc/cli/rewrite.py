"""Commands that show models and protos in another form: print, uninplace, merge-proto."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    CustomProtoOption,
    LevelOption,
    ModelArg,
    PluginOption,
    StageOption,
    WeightsArg,
    reading,
)


def print_model(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="write all weights, so that the text can be read back")] = False,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Print the graph of MODEL in its textual form."""
    from amctc.frontends import load_model
    from amctc.ir.printer import print_graph
    from amctc.plugins import load_plugins
    from amctc.terminal import warnings_of

    load_plugins(plugin or ())
    with warnings_of() as collector:
        graph = load_model(model, weights, collector, **reading(custom_proto, stage, level))
    sys.stdout.write(print_graph(graph, elide_weights=not full))


def uninplace(
    model: ModelArg,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the prototxt to write")],
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Write MODEL, a Caffe prototxt, with a top of its own for every layer that works in place."""
    from amctc import driver
    from amctc.plugins import load_plugins
    from amctc.terminal import say, warn

    load_plugins(plugin or ())
    warn(driver.uninplace_model(model, output, **reading(custom_proto, stage, level)))
    say(f"wrote {output}")


def merge_proto(
    custom: Annotated[
        list[Path], typer.Option("--custom", help="a .proto with messages of your own layers; may be repeated")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="the .proto to write")],
    caffe_proto: Annotated[
        Path | None,
        typer.Option("--caffe-proto", help="the caffe.proto to begin with [default: Caffe's, with ATC's layers]"),
    ] = None,
) -> None:
    """Merge your own messages and AMCT's into a caffe.proto."""
    from amctc import driver
    from amctc.terminal import say, warn

    warn(driver.merge_proto(custom, caffe_proto=caffe_proto, output=output))
    say(f"wrote {output}")
