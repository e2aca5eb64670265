"""Commands about quantizing: compile, check, explain, config."""

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
    PolicyOption,
    PreprocessOption,
    StageOption,
    WeightsArg,
    reading,
)


def compile(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    policy: PolicyOption,
    data: DataOption,
    output: Annotated[str, typer.Option("--output", "-o", help="prefix of the files to write")],
    target: Annotated[str, typer.Option("--target", "-t", help="caffe")] = "caffe",
    batch_size: BatchOption = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="passes to run, as text")] = None,
    preprocess: PreprocessOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Quantize MODEL as a policy says, and write it for one or more targets."""
    from amctc import driver
    from amctc.terminal import progress, say_files, warn

    result = driver.compile(
        model,
        weights,
        policy=policy,
        data=data,
        target=target.split(","),
        output=output,
        pipeline=pipeline,
        batch_size=batch_size,
        preprocess=preprocess,
        progress=progress(),
        **reading(custom_proto, stage, level),
    )
    warn(result.warnings)
    say_files(result)


def check(policies: Annotated[list[Path], typer.Argument(help="policies to check", show_default=False)]) -> None:
    """Check policies on their own; exit status 0 when all are clean, 1 otherwise."""
    from amctc.diagnostics import DiagnosticError
    from amctc.policy import Policy
    from amctc.terminal import say, show, warn

    failed = False
    for path in policies:
        try:
            warn(Policy.from_file(path).warnings)
            say(f"{path}: ok")
        except DiagnosticError as mistakes:
            show(mistakes.diagnostics)
            failed = True
    if failed:
        raise typer.Exit(1)


def explain(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    policy: PolicyOption,
    layer: Annotated[str | None, typer.Option("--layer", help="only this layer")] = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
) -> None:
    """Say what each layer gets from the policy, and the rule that gave it."""
    from amctc import driver
    from amctc.policy import explain_to_json
    from amctc.terminal import as_json, print_json, table, warnings_of

    with warnings_of() as collector:
        how = reading(custom_proto, stage, level)
        rows = driver.explain(model, weights, policy=policy, layer=layer, collector=collector, **how)
    if json:
        print_json(explain_to_json(rows))
        return
    cells = [(row.layer or "", row.type or "", row.field, as_json(row.value), row.rule_text) for row in rows]
    table(["layer", "type", "field", "value", "because of"], cells)


def config(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")],
    policy: Annotated[Path | None, typer.Option("--policy", "-p", help="a .cfg policy to expand")] = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Write the full JSON layer config of MODEL."""
    from amctc import driver
    from amctc.terminal import say, warnings_of

    with warnings_of() as collector:
        how = reading(custom_proto, stage, level)
        driver.write_config(model, weights, policy=policy, output=output, collector=collector, **how)
    say(f"wrote {output}")
