"""Whole trainings: the order of things, what is written, and that a resumed one is the same to the last bit."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe.weights import read_weights
from amctc.training.interrupts import Interrupts
from amctc.training.solver import Action, Solver
from tests.training.small_nets import MEMORY, database, from_database, memory_data, said, solver_in, solver_of

TYPES = {
    "SGD": "iter_size: 2 clip_gradients: 0.5",
    "Nesterov": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 5',
    "AdaGrad": "",
    "RMSProp": "",
    "AdaDelta": "delta: 1e-4",
    "Adam": 'lr_policy: "step" gamma: 0.5 stepsize: 3',
}


class Killed(Exception):
    """Stands for the end of a process."""


def weights_of(solver: Solver) -> bytes:
    return solver.weights_file()


@pytest.mark.parametrize("type", TYPES)
def test_a_training_that_is_killed_and_resumed_gives_the_same_weights_bit_for_bit(type: str, tmp_path: Path) -> None:
    """Momentum, statistics, Dropout, crops and mirrorings at random, the place in the data: everything goes on."""
    data = from_database(database(tmp_path / "db"))
    words = f"{TYPES[type]} max_iter: 9 snapshot: 4 test_iter: 2 test_interval: 3"
    path = solver_in(tmp_path, data, f'type: "{type}" {words}')
    if type in ("AdaGrad", "RMSProp"):
        path.write_text(path.read_text().replace("momentum: 0.9", ""))
    whole = solver_of(path)
    whole.solve()

    killed = solver_of(path)

    def kill() -> None:
        if killed.iteration == 6:
            raise Killed

    killed.callbacks.append((kill, lambda: None))
    with pytest.raises(Killed):
        killed.solve()
    resumed = solver_of(path)
    resumed.restore(tmp_path / "run_iter_4.solverstate")
    assert resumed.iteration == 4
    resumed.solve()
    assert resumed.iteration == whole.iteration == 9
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.net.position == whole.net.position and resumed.test_nets[0].position == whole.test_nets[0].position


def test_equal_trainings_give_equal_weights_and_other_seeds_others(tmp_path: Path) -> None:
    path = solver_in(tmp_path, from_database(database(tmp_path / "db")))
    one, two = solver_of(path), solver_of(path)
    for solver in (one, two):
        solver.step(3)
    assert weights_of(one) == weights_of(two)
    path.write_text(path.read_text().replace("random_seed: 5", "random_seed: 6"))
    other = solver_of(path)
    other.step(3)
    assert weights_of(other) != weights_of(one)


def test_the_log_tells_things_in_caffes_order(tmp_path: Path) -> None:
    lines: list[str] = []
    words = "max_iter: 4 display: 2 snapshot: 3 test_iter: 1 test_interval: 2 test_compute_loss: true"
    solver_of(solver_in(tmp_path, MEMORY, words), lines, data=memory_data()).solve()
    texts = [text.partition(" (")[0].partition(" = ")[0] for text in said(lines)]
    test = ["Test loss: N", "    Test net output #0: accuracy", "    Test net output #1: loss"]
    shown = ["    Train net output #0: loss"]
    expected = [
        "Solving small",
        "Learning Rate Policy: fixed",
        *["Iteration 0, Testing net", *test, "Iteration 0", *shown, "Iteration 0, lr"],
        *["Iteration 2, Testing net", *test, "Iteration 2", *shown, "Iteration 2, lr"],
        f"Snapshotting to binary proto file {tmp_path}/run_iter_3.caffemodel",
        f"Snapshotting solver state to binary proto file {tmp_path}/run_iter_3.solverstate",
        f"Snapshotting to binary proto file {tmp_path}/run_iter_4.caffemodel",
        f"Snapshotting solver state to binary proto file {tmp_path}/run_iter_4.solverstate",
        *["Iteration 4, loss", "Iteration 4, Testing net", *test],
        "Optimization Done.",
    ]
    assert ["Test loss: N" if text.startswith("Test loss") else text for text in texts] == expected
    assert next(line for line in lines if "lr = " in line).partition("] ")[0].endswith("sgd_solver.cpp:1")


def test_no_test_is_made_at_first_where_the_file_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    words = "max_iter: 3 test_iter: 1 test_interval: 2 test_initialization: false snapshot_after_train: false"
    solver_of(solver_in(tmp_path, MEMORY, words), lines, data=memory_data()).solve()
    assert [text for text in said(lines) if "Testing" in text] == ["Iteration 2, Testing net (#0)"]
    assert not list(tmp_path.glob("run*"))


def test_a_test_gives_the_mean_over_its_batches(tmp_path: Path) -> None:
    solver = solver_of(solver_in(tmp_path, MEMORY, "test_iter: 3 test_interval: 1"), data=memory_data())
    net = solver.test_nets[0]
    passes = [{score.output: score for score in net.scores(net.forward())} for _ in range(3)]
    net.position = 0
    for score in solver.test(0):
        assert score.value == pytest.approx(np.mean([found[score.output].value for found in passes]), rel=1e-6)
        assert score.weight == (1.0 if score.output == "loss" else 0.0)


def test_a_test_net_has_the_weights_of_the_net_that_is_trained(tmp_path: Path) -> None:
    solver = solver_of(solver_in(tmp_path, MEMORY, "test_iter: 1 test_interval: 1"), data=memory_data())
    before = solver.test(0)
    solver.step(2)
    assert solver.test(0) != before
    assert solver.test_nets[0].network.weights().keys() == solver.net.network.weights().keys()


def test_gradient_clipping_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    solver_of(solver_in(tmp_path, MEMORY, "clip_gradients: 0.001"), lines, data=memory_data()).step(1)
    assert any(text.startswith("Gradient clipping: scaling down gradients (L2 norm ") for text in said(lines))


def test_weights_decay_where_no_gradient_reaches_them(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    net = tmp_path / "net.prototxt"
    extra = (
        'layer { name: "aside" type: "InnerProduct" bottom: "data" top: "aside" '
        'inner_product_param { num_output: 1 weight_filler { type: "constant" value: 1 } } }'
    )
    net.write_text(net.read_text() + extra)
    solver = solver_of(path, data=memory_data())
    solver.step(1)
    assert solver.net.network.weights()["aside"]["weight"] == pytest.approx(1 - 0.1 * 0.01)


@pytest.mark.parametrize("wish", ["stop", "snapshot"])
def test_a_wish_is_heard_between_iterations(wish: Action, tmp_path: Path) -> None:
    lines: list[str] = []
    wishes: list[Action] = ["none", wish]
    path = solver_in(tmp_path, MEMORY, "max_iter: 4")
    solver = solver_of(path, lines, data=memory_data(), asked=lambda: wishes.pop(0) if wishes else "none")
    solver.solve()
    assert solver.stopped == (wish == "stop") and solver.iteration == (2 if wish == "stop" else 4)
    assert (tmp_path / "run_iter_2.solverstate").exists()
    assert said(lines)[-1] == ("Optimization stopped early." if wish == "stop" else "Optimization Done.")


def test_a_wish_to_stop_is_heard_in_a_test_too(tmp_path: Path) -> None:
    lines: list[str] = []
    path = solver_in(tmp_path, MEMORY, "max_iter: 4 test_iter: 9 test_interval: 1")
    solver = solver_of(path, lines, data=memory_data(), asked=lambda: "stop")
    solver.solve()
    assert said(lines)[3] == "Test interrupted." and said(lines)[-1] == "Optimization stopped early."
    assert solver.iteration == 0 and (tmp_path / "run_iter_0.caffemodel").exists()


def test_ctrl_c_is_a_wish_to_stop_and_the_second_one_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        assert interrupts.asked() == "none"
        signal.raise_signal(signal.SIGHUP)
        assert interrupts.asked() == "snapshot" and interrupts.asked() == "none"
        signal.raise_signal(signal.SIGINT)
        assert interrupts.asked() == "stop"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_snapshot_has_the_weights_and_is_found_where_it_was_moved_to(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    solver = solver_of(path, data=memory_data())
    solver.step(2)
    model, state = solver.snapshot()
    found = read_weights(model)
    assert [len(found[name]) for name in ("conv", "bn", "ip")] == [2, 3, 2]
    for roles, blobs in ((solver.net.network.weights()[name], found[name]) for name in ("conv", "bn", "ip")):
        assert all(map(np.array_equal, roles.values(), blobs))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (model, state):
        file.rename(moved / file.name)
    again = solver_of(path, data=memory_data())
    again.restore(moved / state.name)
    assert weights_of(again) == weights_of(solver)


def test_a_snapshot_of_another_type_of_solver_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    _, state = solver_of(path, data=memory_data()).snapshot()
    other = solver_of(solver_in(tmp_path, MEMORY, 'type: "Adam"'), data=memory_data())
    with pytest.raises(DiagnosticError, match="AM921"):
        other.restore(state)
    assert other.iteration == 0


def test_a_snapshot_from_the_end_of_all_numbers_is_gone_on_from(tmp_path: Path) -> None:
    """A state may say any iteration: no loop runs up to it."""
    words = "iter_size: 2147483647 test_iter: 2 test_interval: 1"
    path = solver_in(tmp_path, from_database(database(tmp_path / "db")), words)
    solver = solver_of(path)
    solver.iteration = 2**31 - 1
    _, state = solver.snapshot()
    again = solver_of(path)
    again.restore(state)
    assert again.iteration == 2**31 - 1
    again.net.forward()


def test_a_folder_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY, "snapshot: 1")
    (tmp_path / "file").write_text("")
    path.write_text(path.read_text().replace(f"{tmp_path}/run", f"{tmp_path}/file/run"))
    with pytest.raises(DiagnosticError, match="AM700"):
        solver_of(path, data=memory_data())


def test_weights_that_a_file_lacks_are_those_of_fillers_and_told(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    solver = solver_of(path, data=memory_data())
    (tmp_path / "whole.caffemodel").write_bytes(solver.weights_file())
    net = tmp_path / "net.prototxt"
    net.write_text(net.read_text().replace('"ip"', '"other"'))
    lines: list[str] = []
    changed = solver_of(path, lines, data=memory_data(), weights=[tmp_path / "whole.caffemodel"])
    assert any("has no weights for other; they keep what they had" in text for text in said(lines))
    weights, old = changed.net.network.weights(), solver.net.network.weights()
    assert np.array_equal(weights["conv"]["weight"], old["conv"]["weight"])


def test_a_net_in_the_solver_file_itself_trains_like_one_in_a_file(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    whole = solver_of(path, data=memory_data())
    net = (tmp_path / "net.prototxt").read_text()
    path.write_text(path.read_text().replace('net: "net.prototxt"', f"net_param {{ {net} }}"))
    inside = solver_of(path, data=memory_data())
    for solver in (whole, inside):
        solver.step(2)
    assert weights_of(inside) == weights_of(whole)


def test_weights_of_the_solver_file_come_before_the_callers(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    first = solver_of(path, data=memory_data())
    (tmp_path / "a.caffemodel").write_bytes(first.weights_file())
    first.step(1)
    (tmp_path / "b.caffemodel").write_bytes(first.weights_file())
    path.write_text(path.read_text() + 'weights: "a.caffemodel"')
    assert weights_of(solver_of(path, data=memory_data())) == (tmp_path / "a.caffemodel").read_bytes()
    given = solver_of(path, data=memory_data(), weights=[tmp_path / "b.caffemodel"])
    assert weights_of(given) == (tmp_path / "b.caffemodel").read_bytes()
