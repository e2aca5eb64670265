"""Files of the interface, all of a call together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amctc.compat.amct_caffe.log import log
from amctc.output import write_files


def save(files: Mapping[Path, bytes]) -> None:
    """Write the files, all or none; the log names each that was there before."""
    there = [path for path in files if path.is_file()]
    write_files(files)
    for path in there:
        log.debug("Utils", f"{path} was there already and has been overwritten")
