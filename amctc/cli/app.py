"""The commands under one root."""

from __future__ import annotations

from collections.abc import Callable

import typer

from amctc.cli import (
    calibrate_ge,
    compat,
    convert,
    execute,
    export,
    fmt,
    listing,
    lsp,
    new_pass,
    quantize,
    replay,
    rewrite,
    train,
    verify_ge,
)
from amctc.cli.group import group_of

COMMANDS: dict[str, Callable[..., None]] = {
    "compile": quantize.compile,
    "train": train.train,
    "convert": convert.convert,
    "export": export.export,
    "check": quantize.check,
    "explain": quantize.explain,
    "config": quantize.config,
    "fmt": fmt.fmt,
    "run": execute.run,
    "eval": execute.evaluate,
    "compare": execute.compare,
    "print": rewrite.print_model,
    "uninplace": rewrite.uninplace,
    "merge-proto": rewrite.merge_proto,
    "calibrate-ge": calibrate_ge.calibrate_ge,
    "verify-ge": verify_ge.verify_ge,
    "dump-ge": verify_ge.dump_ge,
    "compat": compat.compat,
    "passes": listing.passes,
    "targets": listing.targets,
    "ops": listing.ops,
    "new-pass": new_pass.new_pass,
    "replay": replay.replay,
    "reduce": replay.reduce,
    "demo": listing.demo,
    "lsp": lsp.lsp,
}
"""Every command by name, in the order in which the help lists them."""

app = typer.Typer(
    name="amctc",
    cls=group_of(COMMANDS),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """A declarative compiler for neural-network quantization."""
