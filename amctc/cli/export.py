"""The command that writes a float model for another framework: export."""

from __future__ import annotations

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


def export(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    target: Annotated[str, typer.Option("--target", "-t", help="targets to write, as text: name,name{option=value,…}")],
    output: Annotated[str, typer.Option("--output", "-o", help="prefix of the files to write")],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="passes to run first, as text, such as `float` [default: none]")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", metavar="INPUT=SIZES", help="an input's shape, e.g. data=1x3x224x224; may be repeated"),
    ] = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Write MODEL, which stays float, for one or more targets: Caffe as ONNX, ONNX as Caffe."""
    from amctc import driver
    from amctc.terminal import say, warnings_of

    shapes = dict(map(_shape, shape or ()))
    with warnings_of() as collector:
        result = driver.export(
            model,
            weights,
            target=target,
            output=output,
            pipeline=pipeline,
            plugins=plugin or (),
            shapes=shapes,
            collector=collector,
            **reading(custom_proto, stage, level),
        )
    say(f"wrote the float model: {len(result.graph)} layers")
    for path in result.files:
        say(f"  {path}")


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    numbers = sizes.split("x")
    if not name or not all(each.isascii() and each.isdecimal() and 0 < int(each) < 2**31 for each in numbers):
        message = f"`{text}` is no shape: write INPUT=SIZES, such as data=1x3x224x224"
        raise typer.BadParameter(message, param_hint="--shape")
    return name, tuple(map(int, numbers))
