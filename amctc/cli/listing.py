"""Commands that list what is registered, and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import (
    JsonOption,
)


def passes(json: JsonOption = False) -> None:
    """List the passes, with their options."""
    from amctc.catalog import describe_passes
    from amctc.terminal import print_json, table

    found = describe_passes()
    if json:
        print_json({"version": 1, "passes": [row.to_json() for row in found]})
        return
    table(["pass", "options", "what it does"], [(row.name, row.option_text, row.summary) for row in found])


def targets(json: JsonOption = False) -> None:
    """List the targets."""
    from amctc.catalog import describe_targets
    from amctc.terminal import print_json, table

    found = describe_targets()
    if json:
        print_json({"version": 1, "targets": [{"name": name, "summary": summary} for name, summary in found]})
        return
    table(["target", "what it writes"], found)


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


def demo(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="keep the files in this folder")] = None,
) -> None:
    """Quantize the embedded example and compare it with the float model."""
    from amctc.demonstration import run_demo

    run_demo(output)
