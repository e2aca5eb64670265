"""The command that begins a new pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_pass(
    name: Annotated[str, typer.Argument(help="the name of the pass, such as fold-gate", show_default=False)],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write to")] = Path("."),
) -> None:
    """Write a pass that works, its test and its golden files, to begin with."""
    from amctc import scaffold
    from amctc.terminal import say

    for path in scaffold.new_pass(name, output):
        say(f"wrote {path}")
    for line in scaffold.next_steps(name, output):
        say(line)
