"""Training from a solver file: files in, snapshots, a log and a picture of the losses out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from amctc.diagnostics import Collector, error
from amctc.output import write_files
from amctc.progress import Progress, Silent
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.training.log import Score
    from amctc.training.loss_curve import LossCurve


@dataclass(frozen=True)
class TrainResult:
    """`iteration` is how many updates the weights have had in all, `loss` that of the last; `files` what was written.

    `stopped` says that somebody ended the training early.
    """

    iteration: int
    stopped: bool
    loss: float | None
    files: tuple[Path, ...]


def train(
    solver: str | Path,
    *,
    weights: Sequence[str | Path] = (),
    snapshot: str | Path | None = None,
    data: Mapping[str, str | Path] | None = None,
    test_data: Mapping[str, str | Path] | None = None,
    device: str | None = None,
    log: str | Path | None = None,
    curve: str | Path | None = None,
    write: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    collector: Collector | None = None,
) -> TrainResult:
    """Train the net of a solver file to its end, or until Ctrl-C, as `caffe train` does.

    `weights` are caffemodels to begin with, `snapshot` is a `.solverstate` to go on from; one of them. `data` are
    `.npz` files for MemoryData and Input layers by the layers' names, with an array for each top; those in `test_data`
    count for the test nets. `device` is a device of torch. The log goes to the file `log`, and line by line to
    `write`; the losses are drawn into the SVG file `curve`. Warnings go to `collector`. Raises `DiagnosticError`: AM900
    without torch, AM916 for both weights and a snapshot, AM700 for files that cannot be written, and what reading the
    files and the data raises.
    """
    need_torch()
    from amctc.training.interrupts import Interrupts
    from amctc.training.log import Tee, TrainingLog
    from amctc.training.loss_curve import LossCurve
    from amctc.training.memory_data import read_arrays
    from amctc.training.solver import Solver
    from amctc.training.solver_file import read_solver_file

    if weights and snapshot is not None:
        message = "both weights to begin with and a snapshot to go on from are given, and the snapshot has its own"
        raise error("AM916", message, help="give one of them")
    file = read_solver_file(solver, collector if collector is not None else Collector())
    own = {layer: read_arrays(path) for layer, path in (data or {}).items()}
    of_tests = own | {layer: read_arrays(path) for layer, path in (test_data or {}).items()}
    watcher = _Watcher(LossCurve(Path(solver).stem), progress or Silent())
    with nullcontext() if log is None else _lines_into(log) as to_file, Interrupts() as interrupts:
        writers = [writer for writer in (write, to_file) if writer is not None]
        trained = Solver(
            file,
            weights=weights,
            data=own,
            test_data=of_tests,
            device=device,
            log=TrainingLog(Tee(*writers)),
            watcher=watcher,
            asked=interrupts.asked,
        )
        if snapshot is not None:
            trained.restore(snapshot)
        watcher.begin(trained.iteration, file.max_iter)
        try:
            trained.solve()
        finally:
            watcher.end()
            if curve is not None:
                write_files({Path(curve): watcher.curve.svg().encode()})
    drawn = [] if curve is None else [Path(curve)]
    return TrainResult(trained.iteration, trained.stopped, watcher.loss, (*trained.written, *drawn))


class _Watcher:
    """Hands on what the solver tells: to the picture, and to the progress."""

    def __init__(self, curve: LossCurve, progress: Progress) -> None:
        self.curve = curve
        self.loss: float | None = None
        self._progress = progress
        self._first = 0

    def begin(self, iteration: int, last: int) -> None:
        self._first = iteration
        self._progress.begin("training", max(last - iteration, 0))

    def end(self) -> None:
        self._progress.end()

    def trained(self, iteration: int, loss: float) -> None:
        self.loss = loss
        self.curve.trained(iteration, loss)
        self._progress.step(iteration + 1 - self._first)

    def tested(self, iteration: int, net: int, scores: Sequence[Score]) -> None:
        self.curve.tested(iteration, net, scores)


@contextmanager
def _lines_into(path: str | Path) -> Generator[Callable[[str], None]]:
    """A writer of lines into a file, each there as soon as it is written. Raises `DiagnosticError` (AM700)."""
    try:
        with Path(path).open("w", encoding="utf-8", buffering=1) as file:
            yield lambda line: print(line, file=file)
    except OSError as failure:
        reason = (failure.strerror or "unwritable").lower()
        raise error("AM700", f"cannot write this file: {reason}", file=str(path)) from None
