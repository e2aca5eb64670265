"""Commands for the files of Ascend's Graph Engine: verify-ge, dump-ge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from amctc.cli.options import JsonOption


def verify_ge(
    files: Annotated[list[Path], typer.Argument(help=".air files, or text dumps (.txt)", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Check GE graphs by the rules of GE's loaders; exit status 0 when they have no errors, 1 otherwise."""
    from amctc.air.verify import verify_file
    from amctc.policy.check import FileReport, reports_to_json
    from amctc.terminal import print_json, say_reports

    reports = [FileReport(str(path), tuple(verify_file(path))) for path in files]
    if json:
        print_json(reports_to_json(reports))
    else:
        say_reports(reports)
    if any(report.errors for report in reports):
        raise typer.Exit(1)


def dump_ge(
    file: Annotated[Path, typer.Argument(help="a .air file, or a text dump (.txt)", show_default=False)],
    level: Annotated[int, typer.Option("--level", min=1, max=2, help="1: everything; 2: no values of constants")] = 1,
) -> None:
    """Print a GE graph as the text that GE's own dumps have."""
    from amctc.air.files import read_air
    from amctc.air.text_dump import is_text_dump, read_text_dump, write_text

    model = read_text_dump(file) if is_text_dump(file) else read_air(file)
    write_text(model, sys.stdout.write, 2 if level > 1 else 1)
