"""Commands that run models: run, eval, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    BatchOption,
    CustomProtoOption,
    DataOption,
    JsonOption,
    LevelOption,
    ModelArg,
    PluginOption,
    PreprocessOption,
    StageOption,
    WeightsArg,
    reading,
)


def run(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    data: DataOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="the .npz file to write")],
    blobs: Annotated[str | None, typer.Option("--blobs", help="A,B,… or all [default: the outputs]")] = None,
    batch_size: BatchOption = None,
    preprocess: PreprocessOption = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Run MODEL over data and write its blobs, one array for each."""
    from amctc import driver
    from amctc.plugins import load_plugins
    from amctc.terminal import progress, say, warnings_of

    load_plugins(plugin or ())
    wanted = blobs.split(",") if blobs else None
    with warnings_of() as collector:
        written = driver.run_to_file(
            model,
            weights,
            data=data,
            output=output,
            blobs=wanted,
            batch_size=batch_size,
            preprocess=preprocess,
            progress=progress(),
            collector=collector,
            **reading(custom_proto, stage, level),
        )
    for name, shape in written.items():
        say(f"{name}: {' x '.join(map(str, shape))}")
    say(f"wrote {output}")


def evaluate(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    data: DataOption,
    labels: Annotated[str, typer.Option("--labels", help="a key of the .npz, a .npy or a .csv")],
    batch_size: BatchOption = None,
    preprocess: PreprocessOption = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
) -> None:
    """Top-1 and top-5 accuracy of MODEL on labelled data."""
    from amctc import driver
    from amctc.plugins import load_plugins
    from amctc.terminal import print_json, progress, say, warnings_of

    load_plugins(plugin or ())
    with warnings_of() as collector:
        found = driver.evaluate_model(
            model,
            weights,
            data=data,
            labels=labels,
            batch_size=batch_size,
            preprocess=preprocess,
            progress=progress(),
            collector=collector,
            **reading(custom_proto, stage, level),
        )
    if json:
        print_json(found.to_json())
        return
    say(f"top-1 {found.top1:.4f}  top-5 {found.top5:.4f}  of {found.count} samples")


def compare(
    model_a: Annotated[Path, typer.Argument(help="the model that counts as right", show_default=False)],
    model_b: Annotated[Path, typer.Argument(help="the model to compare with it", show_default=False)],
    *,
    data: DataOption,
    weights_a: Annotated[
        Path | None, typer.Option("--weights-a", help="the weights of MODEL_A: a caffemodel", show_default=False)
    ] = None,
    weights_b: Annotated[
        Path | None, typer.Option("--weights-b", help="the weights of MODEL_B: a caffemodel", show_default=False)
    ] = None,
    blobs: Annotated[
        str | None,
        typer.Option(
            "--blobs", help="A,B,…; A=B for a value of MODEL_A and one of MODEL_B [default: all that both have]"
        ),
    ] = None,
    batch_size: BatchOption = None,
    preprocess: PreprocessOption = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
) -> None:
    """Run two models on the same data and say how well each value that both have agrees."""
    from amctc import driver
    from amctc.plugins import load_plugins
    from amctc.terminal import print_json, progress, table, warnings_of

    load_plugins(plugin or ())
    with warnings_of() as collector:
        found = driver.compare_models(
            model_a,
            model_b,
            data=data,
            weights_a=weights_a,
            weights_b=weights_b,
            blobs=blobs.split(",") if blobs else None,
            batch_size=batch_size,
            preprocess=preprocess,
            progress=progress(),
            collector=collector,
            **reading(custom_proto, stage, level),
        )
    if json:
        print_json(found.to_json())
    else:
        table(driver.COMPARISON_HEAD, [value.cells for value in found.values])
