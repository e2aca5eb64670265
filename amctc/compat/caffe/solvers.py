"""`caffe.SGDSolver` and its kin: training scripts' solvers, run by amctc.training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from amctc.compat.caffe.errors import LOG, as_caffe_errors
from amctc.compat.caffe.modes import process_seed
from amctc.diagnostics import Collector
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.compat.caffe.training_net import TrainingNet
    from amctc.training.fed_net import FedNet
    from amctc.training.solver_file import SolverType


@dataclass(frozen=True)
class SolverParameters:
    """What `solver.param` tells."""

    max_iter: int
    display: int
    layer_wise_reduce: bool = False


class Solver:
    """A solver of the type that its file says.

    `net` and `test_nets` show blobs and weights, `iter` is how many updates were made. Its log goes to Python's
    logging, as `caffe.log` does. Raises `CaffeError` for files that cannot be read or trained, and without torch.
    """

    type: ClassVar[SolverType | None] = None
    """Which solver it is, whatever the file says; None for the file's."""

    def __init__(self, solver_file: str | Path) -> None:
        with as_caffe_errors():
            need_torch()
            from amctc.compat.caffe.training_net import TrainingNet
            from amctc.training.log import TrainingLog
            from amctc.training.shown_net import ShownNet
            from amctc.training.solver import Solver as Training
            from amctc.training.solver_file import read_solver_file

            collector = Collector()
            file = read_solver_file(solver_file, collector, self.type)
            self._training = Training(
                file, log=TrainingLog(_log), seed=process_seed(), net_class=ShownNet, tested=self._write_record
            )
            for warning in collector.warnings:
                LOG.warning("%s", warning)
            nets = [self._training.net, *self._training.test_nets]
            self._shown: dict[FedNet, TrainingNet] = {
                net: TrainingNet(net) for net in nets if isinstance(net, ShownNet)
            }
        self.net: TrainingNet
        self.test_nets: list[TrainingNet]
        self.net, *self.test_nets = self._shown.values()
        self.param = SolverParameters(file.max_iter, file.display)

    def _write_record(self, net: FedNet) -> None:
        self._shown[net].write_record()

    @property
    def iter(self) -> int:
        """How many updates were made."""
        return self._training.iteration

    def step(self, iterations: int) -> None:
        """Make so many iterations, with the tests and snapshots that fall among them."""
        with as_caffe_errors():
            self._training.step(int(iterations))

    def solve(self, resume_file: str | Path | None = None) -> None:
        """Train to the end, as the solver file says; from a snapshot on, if one is given."""
        if resume_file is not None:
            self.restore(resume_file)
        with as_caffe_errors():
            self._training.solve()

    def apply_update(self) -> None:
        """Change the weights by the gradients as they are; `iter` stays."""
        with as_caffe_errors():
            self._training.apply_update()

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        with as_caffe_errors():
            self._training.snapshot()

    def restore(self, state_file: str | Path) -> None:
        """Go on from a `.solverstate` file and the weights that it names."""
        with as_caffe_errors():
            self._training.restore(state_file)

    def add_callback(self, on_start: Callable[[], Any], on_gradients_ready: Callable[[], Any] | None = None) -> None:
        """Call `on_start` before each iteration, and `on_gradients_ready` before each update."""
        self._training.callbacks.append((on_start, on_gradients_ready or _nothing))


class SGDSolver(Solver):
    """See `Solver`."""

    type = "SGD"


class NesterovSolver(Solver):
    """See `Solver`."""

    type = "Nesterov"


class AdaGradSolver(Solver):
    """See `Solver`."""

    type = "AdaGrad"


class RMSPropSolver(Solver):
    """See `Solver`."""

    type = "RMSProp"


class AdaDeltaSolver(Solver):
    """See `Solver`."""

    type = "AdaDelta"


class AdamSolver(Solver):
    """See `Solver`."""

    type = "Adam"


def get_solver(solver_file: str | Path) -> Solver:
    """The solver of the type that a solver file says."""
    return Solver(solver_file)


def _log(line: str) -> None:
    LOG.info("%s", line)


def _nothing() -> None:
    return None
