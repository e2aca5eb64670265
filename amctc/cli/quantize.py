"""Commands about quantizing: compile, check, explain, config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    BatchOption,
    CheckpointEveryOption,
    CheckpointOption,
    CustomProtoOption,
    DataOption,
    EquivalenceOption,
    JsonOption,
    LevelOption,
    MaxSamplesOption,
    ModelArg,
    PluginOption,
    PolicyOption,
    PreprocessOption,
    PrintAfterOption,
    PrintBeforeOption,
    PrintLayerOption,
    SampleSeedOption,
    SaveTempsOption,
    SchedulerOption,
    StageOption,
    StartOverOption,
    TargetOption,
    TimePassesOption,
    WeightsArg,
    WorkersOption,
    reading,
    watching,
)


def compile(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    policy: PolicyOption,
    data: DataOption,
    output: Annotated[str, typer.Option("--output", "-o", help="prefix of the files to write")],
    target: TargetOption = None,
    batch_size: BatchOption = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="passes to run, as text")] = None,
    plugin: PluginOption = None,
    preprocess: PreprocessOption = None,
    max_samples: MaxSamplesOption = None,
    sample_seed: SampleSeedOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    checkpoint: CheckpointOption = None,
    start_over: StartOverOption = False,
    checkpoint_every: CheckpointEveryOption = 60,
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
    """Quantize MODEL as a policy says, and write it for one or more targets."""
    from amctc import driver
    from amctc.terminal import progress, say_files, warn

    result = driver.compile(
        model,
        weights,
        policy=policy,
        data=data,
        target=target,
        output=output,
        pipeline=pipeline,
        plugins=plugin or (),
        instruments=watching(
            time_passes, print_ir_before, print_ir_after, print_ir_layer, save_temps, check_equivalence
        ),
        batch_size=batch_size,
        preprocess=preprocess,
        max_samples=max_samples,
        sample_seed=sample_seed,
        workers=workers,
        scheduler=scheduler,
        checkpoint=checkpoint,
        start_over=start_over,
        checkpoint_every=checkpoint_every,
        progress=progress(),
        **reading(custom_proto, stage, level),
    )
    warn(result.warnings)
    say_files(result)


def check(
    policies: Annotated[list[Path] | None, typer.Argument(help="policies to check", show_default=False)] = None,
    *,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="check names and types against this model")
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option(
            "--flavour", help="caffe, pytorch, ge, caffe-qat, pytorch-qat or kv-cache [default: by the fields used]"
        ),
    ] = None,
    plugin: PluginOption = None,
    code: Annotated[str | None, typer.Option("--code", help="tell about a diagnostic code, such as AM210")] = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
) -> None:
    """Check policies, and what they mean for a model; exit status 0 when they have no errors, 1 otherwise."""
    from amctc import driver
    from amctc.codes import code_text, code_to_json, find_code
    from amctc.policy.check import reports_to_json
    from amctc.terminal import print_json, say, say_reports, warnings_of

    if code is not None:
        entry = find_code(code)
        if json:
            print_json({"version": 1, **code_to_json(entry)})
        else:
            say(code_text(entry))
        return
    if not policies:
        raise typer.BadParameter("give the policies to check", param_hint="'POLICIES...'")
    with warnings_of() as collector:
        how = reading(custom_proto, stage, level)
        reports = driver.check(policies, model, flavour=flavour, plugins=plugin or (), collector=collector, **how)
    if json:
        print_json(reports_to_json(reports))
    else:
        say_reports(reports)
    if any(report.errors for report in reports):
        raise typer.Exit(1)


def explain(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    policy: Annotated[
        Path | None, typer.Option("--policy", "-p", help="a .cfg policy or a JSON layer config", show_default=False)
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="only this layer, and the rules that lost")] = None,
    fields: Annotated[bool, typer.Option("--fields", help="every value with its rule")] = False,
    pass_text: Annotated[
        str | None,
        typer.Option("--pass", help="what this pass does to MODEL, and why it leaves other layers alone"),
    ] = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
    json: JsonOption = False,
) -> None:
    """Say how each layer is quantized, or why it is not, and the rule that says so; or what a pass does."""
    from amctc import driver
    from amctc.policy import explain_to_json
    from amctc.terminal import print_json, say_layers, say_pass, say_story, say_values, warnings_of

    how = reading(custom_proto, stage, level)
    if pass_text is not None:
        if layer is not None or fields:
            raise typer.BadParameter("`--pass` goes with neither `--layer` nor `--fields`", param_hint="--pass")
        with warnings_of() as collector:
            told = driver.explain_pass(
                pass_text, model, weights, policy=policy, plugins=plugin or (), collector=collector, **how
            )
        if json:
            print_json(told.to_json())
        else:
            say_pass(told)
        return
    if policy is None:
        raise typer.BadParameter("give a policy, or a pass with `--pass`", param_hint="--policy")
    with warnings_of() as collector:
        found = driver.explain(
            model, weights, policy=policy, layer=layer, plugins=plugin or (), collector=collector, **how
        )
    if json:
        print_json(explain_to_json(found.rows, found.layers))
    elif fields:
        say_values(found.rows)
    elif layer is not None:
        say_story(found)
    else:
        say_layers(found.layers)


def config(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")],
    policy: Annotated[Path | None, typer.Option("--policy", "-p", help="a .cfg policy to expand")] = None,
    plugin: PluginOption = None,
    custom_proto: CustomProtoOption = None,
    stage: StageOption = None,
    level: LevelOption = 0,
) -> None:
    """Write the full JSON layer config of MODEL."""
    from amctc import driver
    from amctc.plugins import load_plugins
    from amctc.terminal import say, warnings_of

    load_plugins(plugin or ())
    with warnings_of() as collector:
        how = reading(custom_proto, stage, level)
        driver.write_config(model, weights, policy=policy, output=output, collector=collector, **how)
    say(f"wrote {output}")
