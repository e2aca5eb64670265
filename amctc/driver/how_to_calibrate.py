"""How the observers of one compilation are fed: in this process, by workers, and with a checkpoint or without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amctc.diagnostics import error
from amctc.runtime.calibration_data import CalibrationData

EVERY = 60.0
"""Seconds after which a checkpoint is written anew, where nobody says others."""


@dataclass(frozen=True)
class HowToCalibrate:
    """`workers` processes on this machine, or those of the cluster at `scheduler`; neither is this process.

    What was seen goes to the file `checkpoint` every `seconds`, and is taken up from there unless to `start_over`.
    """

    workers: int | None = None
    scheduler: str | None = None
    checkpoint: Path | None = None
    start_over: bool = False
    seconds: float = EVERY

    @property
    def is_plain(self) -> bool:
        return not self.with_workers and self.checkpoint is None

    @property
    def with_workers(self) -> bool:
        return self.workers is not None or self.scheduler is not None

    def check(self) -> None:
        """Raise `DiagnosticError`: AM471 for options that do not go together, AM470 where Dask is missing."""
        if self.workers is not None and self.scheduler is not None:
            message = "`--workers` starts processes of its own, `--scheduler` takes those of a cluster"
            raise error("AM471", message, help="give one of the two")
        if self.workers is not None and self.workers < 1:
            raise error("AM471", f"`workers` must be at least 1, not {self.workers}")
        if self.start_over and self.checkpoint is None:
            message = "`--start-over` replaces a checkpoint, and none is named"
            raise error("AM471", message, help="name it with `--checkpoint FILE`, or leave `--start-over` out")
        if not self.seconds >= 0:
            raise error("AM471", f"`checkpoint_every` must be at least 0 seconds, not {self.seconds}")
        if self.with_workers:
            from amctc.scaleout.cluster import require_dask

            require_dask()

    def check_data(self, data: CalibrationData) -> None:
        """Raise `DiagnosticError` (AM474) for data that a checkpoint cannot tell from others."""
        if self.checkpoint is not None and data.is_iterable:
            message = "a checkpoint must tell the data from others, and an iterable has nothing to tell it by"
            raise error("AM474", message, help="give files or arrays, or leave `--checkpoint` out")
