"""The command line: arguments in, one driver call, diagnostics and tables out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="amctc",
    help="A declarative compiler for neural-network quantization.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ModelArg = Annotated[Path, typer.Argument(help="the model: a Caffe prototxt", show_default=False)]
WeightsArg = Annotated[Path | None, typer.Argument(help="its weights: a caffemodel", show_default=False)]
PolicyOption = Annotated[Path, typer.Option("--policy", "-p", help="a .cfg policy or a JSON layer config")]
DataOption = Annotated[
    str, typer.Option("--data", "-d", help="an .npz or .npy, a folder or glob of images, .bin files")
]
PreprocessOption = Annotated[
    str | None, typer.Option("--preprocess", help="what to do with the data, e.g. resize-short=256,center-crop=227,bgr")
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="samples a batch [default: the model's]")]
CustomProtoOption = Annotated[
    list[Path] | None,
    typer.Option("--custom-proto", help="a .proto with messages of your own layers; may be repeated"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
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
        custom_protos=custom_proto or (),
    )
    warn(result.warnings)
    say_files(result)


@app.command()
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


@app.command()
def explain(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    policy: PolicyOption,
    layer: Annotated[str | None, typer.Option("--layer", help="only this layer")] = None,
    custom_proto: CustomProtoOption = None,
    json: JsonOption = False,
) -> None:
    """Say what each layer gets from the policy, and the rule that gave it."""
    from amctc import driver
    from amctc.policy import explain_to_json
    from amctc.terminal import as_json, print_json, table

    rows = driver.explain(model, weights, policy=policy, layer=layer, custom_protos=custom_proto or ())
    if json:
        print_json(explain_to_json(rows))
        return
    cells = [(row.layer or "", row.type or "", row.field, as_json(row.value), row.rule_text) for row in rows]
    table(["layer", "type", "field", "value", "because of"], cells)


@app.command()
def config(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")],
    policy: Annotated[Path | None, typer.Option("--policy", "-p", help="a .cfg policy to expand")] = None,
    custom_proto: CustomProtoOption = None,
) -> None:
    """Write the full JSON layer config of MODEL."""
    from amctc import driver
    from amctc.terminal import say

    driver.write_config(model, weights, policy=policy, output=output, custom_protos=custom_proto or ())
    say(f"wrote {output}")


@app.command()
def uninplace(
    model: ModelArg,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the prototxt to write")],
    custom_proto: CustomProtoOption = None,
) -> None:
    """Write MODEL, a Caffe prototxt, with a top of its own for every layer that works in place."""
    from amctc import driver
    from amctc.terminal import say, warn

    warn(driver.uninplace_model(model, output, custom_proto or ()))
    say(f"wrote {output}")


@app.command()
def run(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    data: DataOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="the .npz file to write")],
    blobs: Annotated[str | None, typer.Option("--blobs", help="A,B,… or all [default: the outputs]")] = None,
    batch_size: BatchOption = None,
    preprocess: PreprocessOption = None,
    custom_proto: CustomProtoOption = None,
) -> None:
    """Run MODEL over data and write its blobs, one array for each."""
    from amctc import driver
    from amctc.terminal import progress, say

    wanted = blobs.split(",") if blobs else None
    written = driver.run_to_file(
        model,
        weights,
        data=data,
        output=output,
        blobs=wanted,
        batch_size=batch_size,
        preprocess=preprocess,
        progress=progress(),
        custom_protos=custom_proto or (),
    )
    for name, shape in written.items():
        say(f"{name}: {' x '.join(map(str, shape))}")
    say(f"wrote {output}")


@app.command("eval")
def evaluate(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    data: DataOption,
    labels: Annotated[str, typer.Option("--labels", help="a key of the .npz, a .npy or a .csv")],
    batch_size: BatchOption = None,
    preprocess: PreprocessOption = None,
    custom_proto: CustomProtoOption = None,
    json: JsonOption = False,
) -> None:
    """Top-1 and top-5 accuracy of MODEL on labelled data."""
    from amctc import driver
    from amctc.terminal import print_json, progress, say

    found = driver.evaluate_model(
        model,
        weights,
        data=data,
        labels=labels,
        batch_size=batch_size,
        preprocess=preprocess,
        progress=progress(),
        custom_protos=custom_proto or (),
    )
    if json:
        print_json(found.to_json())
        return
    say(f"top-1 {found.top1:.4f}  top-5 {found.top5:.4f}  of {found.count} samples")


@app.command("print")
def print_model(
    model: ModelArg,
    weights: WeightsArg = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="write all weights, so that the text can be read back")] = False,
    custom_proto: CustomProtoOption = None,
) -> None:
    """Print the graph of MODEL in its textual form."""
    from amctc.frontends import load_model
    from amctc.ir.printer import print_graph

    sys.stdout.write(print_graph(load_model(model, weights, custom_protos=custom_proto or ()), elide_weights=not full))


@app.command("merge-proto")
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


@app.command()
def passes(json: JsonOption = False) -> None:
    """List the passes, with their options."""
    from amctc.catalog import describe_passes
    from amctc.terminal import print_json, table

    found = describe_passes()
    if json:
        print_json({"version": 1, "passes": [row.to_json() for row in found]})
        return
    table(["pass", "options", "what it does"], [(row.name, row.option_text, row.summary) for row in found])


@app.command()
def targets(json: JsonOption = False) -> None:
    """List the targets."""
    from amctc.catalog import describe_targets
    from amctc.terminal import print_json, table

    found = describe_targets()
    if json:
        print_json({"version": 1, "targets": [{"name": name, "summary": summary} for name, summary in found]})
        return
    table(["target", "what it writes"], found)


@app.command()
def ops(
    dialect: Annotated[str | None, typer.Option("--dialect", help="only those of one dialect: caffe or quant")] = None,
    json: JsonOption = False,
) -> None:
    """List the layer types that are known: their parameters, how each may be quantized, and what runs it."""
    from amctc.catalog import describe_ops, dialects
    from amctc.diagnostics import did_you_mean, error
    from amctc.terminal import print_json, table

    if dialect is not None and dialect not in dialects():
        help = did_you_mean(dialect, dialects()) or f"there are: {', '.join(dialects())}"
        raise error("AM810", f"there is no dialect named `{dialect}`", help=help)
    found = describe_ops(dialect)
    if json:
        print_json({"version": 1, "ops": [row.to_json() for row in found]})
        return
    table(["op", "quantized", "weights", "parameters", "runs on", "what it is"], [row.cells for row in found])


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="keep the files in this folder")] = None,
) -> None:
    """Quantize the embedded example and compare it with the float model."""
    from amctc.demonstration import run_demo

    run_demo(output)


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 wrong input, 2 wrong usage, 70 a bug of ours."""
    from amctc.diagnostics import DiagnosticError

    try:
        app()
    except DiagnosticError as mistakes:
        from amctc.terminal import show

        show(mistakes.diagnostics)
        raise SystemExit(1) from None
    except Exception as failure:
        from amctc.crash import write_report

        write_report(failure)
        raise SystemExit(70) from None


if __name__ == "__main__":
    main()
