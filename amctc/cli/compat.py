"""The command for scripts of other tools: compat."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Action(Enum):
    """What `amctc compat` can write."""

    CAFFE_DIR = "caffe-dir"


def compat(
    action: Annotated[Action, typer.Argument(help="caffe-dir: write a folder that stands for a built Caffe")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder: a new one, or an empty one")],
) -> None:
    """Write what scripts for Caffe and AMCT look for, so that they run with amctc alone.

    A script that is not told where Caffe lies needs no such folder: `python -m amctc.compat SCRIPT` runs it.
    """
    from amctc.compat.caffe_dir import write_caffe_dir
    from amctc.terminal import say

    del action  # there is one
    write_caffe_dir(folder)
    say(f"wrote {folder}, a stand-in for Caffe: give it to scripts as the folder of Caffe")
