"""Training from a solver file: files in, snapshots, a log and a picture of the losses out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from amctc.diagnostics import Collector, error
from amctc.driver.trained_record import TrainedRecord
from amctc.output import write_files
from amctc.progress import Progress, Silent
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.training.fed_net import FedNet
    from amctc.training.log import Score, TrainingLog
    from amctc.training.loss_curve import LossCurve
    from amctc.training.solver import Solver
    from amctc.training.solver_file import SolverFile


@dataclass(frozen=True)
class TrainResult:
    """`iteration` is how many updates the weights have had in all, `loss` that of the last; `files` what was written.

    `stopped` says that somebody ended the training early.
    """

    iteration: int
    stopped: bool
    loss: float | None
    files: tuple[Path, ...]


class TrainingOptions(TypedDict, total=False):
    """What a training may be told besides its solver file."""

    weights: Sequence[str | Path]
    """Caffemodels to begin with, after those of the solver file."""
    snapshot: str | Path | None
    """A `.solverstate` to go on from; not together with `weights`."""
    data: Mapping[str, str | Path]
    """`.npz` files for MemoryData and Input layers by the layers' names, with an array for each top."""
    test_data: Mapping[str, str | Path]
    """The same for the test nets, where it is not that of `data`."""
    device: str | None
    """A device of torch; by default what the solver file says."""
    log: str | Path | None
    """A file for the log."""
    curve: str | Path | None
    """An SVG file for a picture of the losses."""
    write: Callable[[str], None] | None
    """Is given the log line by line."""
    progress: Progress | None


def train(solver: str | Path, *, collector: Collector | None = None, **options: Unpack[TrainingOptions]) -> TrainResult:
    """Train the net of a solver file to its end, or until Ctrl-C, as `caffe train` does.

    Of a model under quantization-aware training the tests write the record that it names. Warnings go to `collector`.
    Raises `DiagnosticError`: AM900 without torch, AM916 for both weights and a snapshot, AM700 for files that cannot be
    written, and what reading the files and the data raises.
    """
    check_options(options)
    from amctc.training.solver_file import read_solver_file

    file = read_solver_file(solver, collector if collector is not None else Collector())
    return run_solver(file, options, write_record=True).result


def check_options(options: TrainingOptions) -> None:
    """Raise `DiagnosticError`: AM900 without torch, AM916 for both weights and a snapshot."""
    need_torch()
    if options.get("weights") and options.get("snapshot") is not None:
        message = "both weights to begin with and a snapshot to go on from are given, and the snapshot has its own"
        raise error("AM916", message, help="give one of them")


@dataclass(frozen=True)
class SolverRun:
    """A training that has ended, and what is told of it."""

    solver: Solver
    result: TrainResult


def run_solver(file: SolverFile, options: TrainingOptions, *, write_record: bool) -> SolverRun:
    """Train as a solver file says; with `write_record` tests write the record that a model names. Raises as `train`."""
    from amctc.training.interrupts import Interrupts
    from amctc.training.log import Tee, TrainingLog
    from amctc.training.loss_curve import LossCurve
    from amctc.training.memory_data import read_arrays
    from amctc.training.solver import Solver

    own = {layer: read_arrays(path) for layer, path in options.get("data", {}).items()}
    of_tests = own | {layer: read_arrays(path) for layer, path in options.get("test_data", {}).items()}
    watcher = _Watcher(LossCurve(file.path.stem), options.get("progress") or Silent())
    log, curve, snapshot = options.get("log"), options.get("curve"), options.get("snapshot")
    with nullcontext() if log is None else _lines_into(log) as to_file, Interrupts() as interrupts:
        lines = TrainingLog(Tee(*(writer for writer in (options.get("write"), to_file) if writer is not None)))
        trained = Solver(
            file,
            weights=options.get("weights", ()),
            data=own,
            test_data=of_tests,
            device=options.get("device"),
            log=lines,
            watcher=watcher,
            asked=interrupts.asked,
            tested=_RecordWriter(lines) if write_record else lambda net: None,
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
    result = TrainResult(trained.iteration, trained.stopped, watcher.loss, (*trained.written, *drawn))
    return SolverRun(trained, result)


class _RecordWriter:
    """Writes the record of a test net that is a model under quantization-aware training."""

    def __init__(self, log: TrainingLog) -> None:
        self._log = log
        self._records: dict[FedNet, TrainedRecord | None] = {}

    def __call__(self, net: FedNet) -> None:
        if net not in self._records:
            self._records[net] = TrainedRecord.of(net.graph, self._log.info, self._log.info)
        record = self._records[net]
        if record is not None:
            net.network.write_back()
            record.write()


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
