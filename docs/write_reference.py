"""Write the command-line reference: what `amctc` says of its verbs, passes, targets and ops, in Markdown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

VERBS = ("compile", "check", "explain", "config", "convert", "run", "eval", "compare", "print", "merge-proto")
TABLES = ("passes", "targets", "ops")
HEAD = "# Reference\n\nWritten by `make docs`; do not edit.\n"


def said(*arguments: str) -> str:
    """What `amctc` prints for these arguments, 100 columns wide and without colours."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    script = Path(sys.executable).with_name("amctc")
    done = subprocess.run([script, *arguments], capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def reference() -> str:
    """The whole text of the reference."""
    calls = [("--help",), *((verb, "--help") for verb in VERBS), *((table,) for table in TABLES)]
    sections = [f"## amctc {' '.join(call)}\n\n```\n{said(*call)}\n```\n" for call in calls]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
