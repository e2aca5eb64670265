"""Training a net as Caffe's solvers do it: iterations, tests in between, snapshots, and going on from one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from amctc.output import check_writable, write_files
from amctc.targets.caffe.files import caffemodel
from amctc.training.fed_net import FedNet, NetSettings, mean_scores
from amctc.training.log import Score, TrainingLog, number, progress_text, silent_log
from amctc.training.places import located
from amctc.training.ranges import ranges_bytes, ranges_path, read_ranges
from amctc.training.smoothed_loss import SmoothedLoss
from amctc.training.solver_file import SolverFile
from amctc.training.solver_state import SolverState, checked_history, learned_weights, read_state, state_bytes
from amctc.training.weight_update import WeightUpdate

Action: TypeAlias = Literal["none", "snapshot", "stop"]
"""What somebody may ask of a training while it runs."""

DataOf: TypeAlias = Mapping[str, Mapping[str, ArrayLike]]
"""Arrays for MemoryData and Input layers, by layer and top."""

USUAL_SEED: Final = 1701
"""Where a solver file has no `random_seed`: equal trainings give equal weights."""


class Watcher(Protocol):
    """Is told the loss of each iteration, and the scores of each test."""

    def trained(self, iteration: int, loss: float) -> None: ...

    def tested(self, iteration: int, net: int, scores: Sequence[Score]) -> None: ...


def _nothing(net: FedNet) -> None:
    del net


class Solver:
    """Trains the net of a solver file.

    `iteration` is how many updates of the weights have been made. `weights` are caffemodels to begin with, after those
    of the file. `data` are arrays for the MemoryData and Input layers of the trained net, `test_data` for those of the
    test nets (default: the same). `device` is a device of torch (default: what the file asks for, where it is there).
    `asked` is called between iterations: what somebody wants now. `seed` is for files without `random_seed`, and
    `net_class` is what makes the nets; `tested` is called in every test of a net, after its first batch. Raises
    `DiagnosticError` for nets, weights or data that do not fit, AM906 for a device that torch cannot use, AM700 where
    snapshots cannot be written.
    """

    def __init__(
        self,
        file: SolverFile,
        *,
        weights: Sequence[str | Path] = (),
        data: DataOf | None = None,
        test_data: DataOf | None = None,
        device: str | None = None,
        log: TrainingLog | None = None,
        watcher: Watcher | None = None,
        asked: Callable[[], Action] = lambda: "none",
        seed: int = USUAL_SEED,
        net_class: type[FedNet] = FedNet,
        tested: Callable[[FedNet], object] = _nothing,
    ) -> None:
        self.file = file
        self.iteration = 0
        self.rate = 0.0
        """The learning rate of the last update."""
        self.stopped = False
        """Whether somebody asked for an early end."""
        self.written: tuple[Path, ...] = ()
        """The files of the last snapshot."""
        self._log = log or silent_log()
        self._watcher = watcher
        self._asked = asked
        self._tested = tested
        self._step = 0
        if file.snapshot:
            check_writable(self._snapshot_path(".caffemodel").parent)
        settings = NetSettings(
            file.random_seed if file.random_seed is not None else seed,
            device or _device(file, self._log),
            lambda name: located(name, file.path.parent),
            self._log,
        )
        self.net = net_class(file.train, settings, arrays=data, weights=(*file.weights, *weights))
        given = data if test_data is None else test_data
        self.test_nets = tuple(net_class(plan, settings, arrays=given, shared=self.net) for plan in file.tests)
        self._update = WeightUpdate(file, self.net.network.parameters)
        self._smoothed = SmoothedLoss(file.average_loss)
        self.callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        """What is called at the start of each iteration, and with the gradients before each update."""

    # -- training --------------------------------------------------------------------------------

    def solve(self) -> None:
        """Train up to `max_iter`, test, and write a last snapshot, as the solver file says."""
        file, log = self.file, self._log
        log.info(f"Solving {self.net.name}")
        log.info(f"Learning Rate Policy: {file.rate.policy}")
        self.stopped = False
        start = self.iteration
        self.step(file.max_iter - self.iteration)
        if file.snapshot_after_train and not (file.snapshot and self.iteration % file.snapshot == 0):
            self.snapshot()
        if self.stopped:
            log.info("Optimization stopped early.")
            return
        if file.display and self.iteration % file.display == 0:
            with torch.no_grad():
                loss = self._smoothed.add(self.net.forward().loss.item(), self.iteration - start)
            log.info(f"Iteration {self.iteration}, loss = {number(float(loss))}")
        if file.test_interval and self.iteration % file.test_interval == 0:
            self.test_all()
        log.info("Optimization Done.")

    def step(self, count: int) -> None:
        """Make `count` iterations, with the tests and snapshots that fall among them."""
        start, end = self.iteration, self.iteration + count
        self._smoothed = SmoothedLoss(self.file.average_loss)
        shown, since = time.perf_counter(), self.iteration
        while self.iteration < end:
            for on_start, _ in self.callbacks:
                on_start()
            if self._is_test_due():
                self.test_all()
                if self.stopped:
                    return
            loss, scores = self.forward_backward()
            smoothed = float(self._smoothed.add(loss, self.iteration - start))
            if self._watcher is not None:
                self._watcher.trained(self.iteration, loss)
            if self._is_shown():
                now = time.perf_counter()
                done = self.iteration - since
                self._log.info(progress_text(self.iteration, done, now - shown, self.file.display, smoothed))
                self._log.scores("Train", scores)
                shown, since = now, self.iteration
            for _, on_gradients in self.callbacks:
                on_gradients()
            self.apply_update()
            if self._after_iteration():
                return

    def forward_backward(self) -> tuple[float, list[Score]]:
        """`iter_size` batches forwards and backwards: their mean loss, and the outputs of the last."""
        self._update.begin()
        total = np.float32(0)
        result = None
        for _ in range(self.file.iter_size):
            result = self.net.forward()
            self.net.network.backward()
            total = np.float32(total + np.float32(result.loss.item()))
        scores = self.net.scores(result) if result is not None and self._is_shown() else []
        return float(total / np.float32(self.file.iter_size)), scores

    def apply_update(self) -> None:
        """Change the weights by the gradients as they are; `iteration` is left to `step`."""
        self._step = self.file.rate.step_at(self.iteration, self._step)
        self.rate = float(self.file.rate.rate(self.iteration, self._step))
        if self._is_shown():
            self._log.info(f"Iteration {self.iteration}, lr = {number(self.rate)}", "sgd_solver.cpp")
        norm, factor = self._update.apply(self.rate, self.iteration)
        self.net.network.mend_clips()
        if factor != 1:
            self._log.info(
                f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > "
                f"{number(self.file.clip_gradients)}) by scale factor {number(factor)}",
                "sgd_solver.cpp",
            )

    def _after_iteration(self) -> bool:
        """Count the iteration, write what is due; whether the training is to end."""
        asked = self._asked()
        self.iteration += 1
        if asked == "snapshot" or (self.file.snapshot and self.iteration % self.file.snapshot == 0):
            self.snapshot()
        self.stopped = self.stopped or asked == "stop"
        return self.stopped

    def _is_test_due(self) -> bool:
        interval = self.file.test_interval
        if not interval or self.iteration % interval:
            return False
        return self.iteration > 0 or self.file.test_initialization

    def _is_shown(self) -> bool:
        return bool(self.file.display) and self.iteration % self.file.display == 0

    # -- testing ---------------------------------------------------------------------------------

    def test_all(self) -> None:
        """Test every test net, and tell its scores."""
        for index in range(len(self.test_nets)):
            if self.stopped:
                return
            self.test(index)

    def test(self, index: int = 0) -> list[Score]:
        """The mean scores of a test net over its `test_iter` batches, with the weights as they are.

        Somebody's wish to stop is heard between batches; there are no scores then.
        """
        net = self.test_nets[index]
        self._log.info(f"Iteration {self.iteration}, Testing net (#{index})")
        passes: list[list[Score]] = []
        total = np.float32(0)
        for _ in range(net.plan.iterations):
            asked = self._asked()
            if asked == "snapshot":
                self.snapshot()
            elif asked == "stop":
                self.stopped = True
                self._log.info("Test interrupted.")
                return []
            with torch.no_grad():
                result = net.forward()
            if not passes:
                self._tested(net)
            passes.append(net.scores(result))
            total = np.float32(total + np.float32(result.loss.item()))
        if self.file.test_compute_loss and passes:
            self._log.info(f"Test loss: {number(float(total / np.float32(len(passes))))}")
        scores = mean_scores(passes)
        self._log.scores("Test", scores)
        if self._watcher is not None:
            self._watcher.tested(self.iteration, index, scores)
        return scores

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Path, Path]:
        """Write the weights and the state, whole or not at all; gives their paths. Raises `DiagnosticError` (AM700).

        As long as ranges are being measured, what was seen of them goes into a file beside these (see `ranges`).
        """
        model, state = self._snapshot_path(".caffemodel"), self._snapshot_path(".solverstate")
        self._log.info(f"Snapshotting to binary proto file {model}")
        self._log.info(f"Snapshotting solver state to binary proto file {state}", "sgd_solver.cpp")
        content = SolverState(self.iteration, str(model), self._step, tuple(self._update.history()))
        files = {model: self.weights_file(), state: state_bytes(content)}
        seen = ranges_bytes(self.net.network.clips, self.iteration)
        if seen is not None:
            files[ranges_path(state)] = seen
        write_files(files)
        self.written = tuple(files)
        return model, state

    def weights_file(self) -> bytes:
        """The weights as they are, as a caffemodel."""
        self.net.network.write_back()
        return caffemodel(self.net.graph, fake=False)

    def restore(self, path: str | Path) -> None:
        """Go on from a snapshot: its weights, its history, its place in the data.

        The weights file that it names is looked for as it is named, or else beside the snapshot. Raises
        `DiagnosticError`: AM920 and AM921 for a state that is damaged or of another training, AM932 for such ranges,
        AM310 to AM314 for the weights.
        """
        state = read_state(path)
        history: list[NDArray[Any]] = checked_history(state, self._update.history_shapes, path)
        begun = read_ranges(ranges_path(path), self.net.network.clips, state.iteration)
        learned = learned_weights(state, path)
        if learned is not None:
            self.net.load(learned)
        for name, clips in self.net.network.clips.items():
            clips.resume(begun.get(name))
        self._update.set_history(history)
        self.iteration, self._step = state.iteration, state.step
        self.net.position = state.iteration * self.file.iter_size
        for net in self.test_nets:
            net.position = self._tests_before(state.iteration) * net.plan.iterations

    def _tests_before(self, iteration: int) -> int:
        """How many tests fall before an iteration."""
        interval = self.file.test_interval
        if not interval or not iteration:
            return 0
        return (iteration - 1) // interval + int(self.file.test_initialization)

    def _snapshot_path(self, ending: str) -> Path:
        return Path(f"{self.file.snapshot_prefix}_iter_{self.iteration}{ending}")


def _device(file: SolverFile, log: TrainingLog) -> str:
    if not file.on_gpu:
        return "cpu"
    if not torch.cuda.is_available():
        log.info("torch has no GPU here, so the training runs on the CPU")
        return "cpu"
    return f"cuda:{file.device_id}"
