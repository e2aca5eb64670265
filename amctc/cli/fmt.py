"""The command that lays out policies: fmt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def fmt(
    files: Annotated[list[Path], typer.Argument(help=".cfg policies, or other prototexts", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="only look; exit status 1 if a file would change")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="print the result and leave the files as they are")] = False,
) -> None:
    """Lay policies out anew, without changing what they say and without losing a comment."""
    from amctc.diagnostics import Diagnostic, DiagnosticError
    from amctc.output import write_files
    from amctc.policy.read import is_json
    from amctc.terminal import say, show
    from amctc.text.files import read_text
    from amctc.text.prototext_format import format_prototext

    if check and stdout:
        raise typer.BadParameter("give one of --check and --stdout, not both")
    mistakes: list[Diagnostic] = []
    would_change = False
    for path in files:
        try:
            source = read_text(path)
            if is_json(source):
                help = "`amctc config` writes layer configs; `amctc fmt` is for `.cfg` policies"
                mistakes.append(Diagnostic("AM820", "this is a JSON layer config", file=str(path), help=help))
                continue
            formatted = format_prototext(source)
            if stdout:
                sys.stdout.write(formatted)
            elif formatted == source.text:
                say(f"{path}: ok")
            elif check:
                say(f"{path}: would be formatted")
                would_change = True
            else:
                write_files({path.resolve(): formatted.encode()})
                say(f"{path}: formatted")
        except DiagnosticError as found:
            mistakes += found.diagnostics
    if mistakes:
        show(mistakes)
    if mistakes or would_change:
        raise typer.Exit(1)
