"""Commands that list what is registered, and the demonstration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import JsonOption, PluginOption


def passes(plugin: PluginOption = None, json: JsonOption = False) -> None:
    """List the passes, with their options, and the named pipelines."""
    from amctc.catalog import describe_passes, describe_pipelines
    from amctc.plugins import load_plugins
    from amctc.terminal import print_json

    load_plugins(plugin or ())
    found, pipelines = describe_passes(), describe_pipelines()
    if json:
        rows = [row.to_json() for row in found]
        print_json({"version": 1, "passes": rows, "pipelines": [row.to_json() for row in pipelines]})
        return
    _table(
        ["pass", "options", "what it does"],
        [(row.owner, (row.name, row.option_text, row.summary)) for row in found],
    )
    _table(["pipeline", "its passes"], [(row.owner, (row.name, row.text)) for row in pipelines])


def targets(plugin: PluginOption = None, json: JsonOption = False) -> None:
    """List the targets, with their options."""
    from amctc.catalog import describe_targets
    from amctc.plugins import load_plugins
    from amctc.terminal import print_json

    load_plugins(plugin or ())
    found = describe_targets()
    if json:
        print_json({"version": 1, "targets": [row.to_json() for row in found]})
        return
    _table(
        ["target", "options", "what it writes"],
        [(row.owner, (row.name, row.option_text, row.summary)) for row in found],
    )


def ops(
    dialect: Annotated[
        str | None, typer.Option("--dialect", help="only those of one dialect: caffe, onnx or quant")
    ] = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """List the layer types that are known: their parameters, how each may be quantized, and what runs it."""
    from amctc.catalog import describe_ops, dialects
    from amctc.diagnostics import did_you_mean, error
    from amctc.plugins import load_plugins
    from amctc.terminal import print_json

    load_plugins(plugin or ())
    if dialect is not None and dialect not in dialects():
        help = did_you_mean(dialect, dialects()) or f"there are: {', '.join(dialects())}"
        raise error("AM810", f"there is no dialect named `{dialect}`", help=help)
    found = describe_ops(dialect)
    if json:
        print_json({"version": 1, "ops": [row.to_json() for row in found]})
        return
    head = ["op", "quantized", "weights", "parameters", "runs on", "what it is"]
    _table(head, [(row.owner, row.cells) for row in found])


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Rows with their owners; a column for the owner only where one of them is not ours."""
    from amctc.registered import BUILT_IN
    from amctc.terminal import table

    if all(owner == BUILT_IN for owner, _ in rows):
        table(head, [cells for _, cells in rows])
        return
    *begin, last = head
    shown = ((owner if owner != BUILT_IN else "", cells) for owner, cells in rows)
    table([*begin, "of", last], [(*cells[:-1], owner, cells[-1]) for owner, cells in shown])


def demo(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="keep the files in this folder")] = None,
) -> None:
    """Quantize the embedded example and compare it with the float model."""
    from amctc.demonstration import run_demo

    run_demo(output)
