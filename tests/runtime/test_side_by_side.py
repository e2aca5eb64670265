"""Work side by side, and turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from amctc.runtime.side_by_side import Stopped, Turns, side_by_side


def amctc_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("amctc-")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_item_is_worked_on_once_and_told_of_in_order(workers: int) -> None:
    done: list[int] = []
    numbers: list[tuple[int, str]] = []

    def work(worker: str, number: int, item: str) -> None:
        numbers.append((number, item))

    for _ in side_by_side([f"worker {number}" for number in range(workers)], "abcdefgh", work):
        done.append(len(done))
        assert {number for number, _ in numbers} >= set(done)
    assert sorted(numbers) == list(enumerate("abcdefgh")) and len(done) == 8
    assert not amctc_threads()


def test_a_worker_has_one_item_at_a_time() -> None:
    busy: set[str] = set()
    lock = threading.Lock()

    def work(worker: str, number: int, item: int) -> None:
        with lock:
            assert worker not in busy
            busy.add(worker)
        threading.Event().wait(0.001)
        busy.remove(worker)

    assert len(list(side_by_side(["a", "b", "c"], range(40), work))) == 40


def test_only_few_items_are_taken_beforehand() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    running = side_by_side(["a", "b"], items(), lambda worker, number, item: None)
    next(running)
    assert taken <= 4
    running.close()
    assert not amctc_threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_what_the_first_bad_item_raises_is_raised_when_its_turn_comes(workers: int) -> None:
    def work(worker: int, number: int, item: int) -> None:
        if item >= 4:
            raise ValueError(f"item {item}")

    done = 0
    with pytest.raises(ValueError, match="item 4"):
        for _ in side_by_side(range(workers), range(10), work):
            done += 1
    assert done == 4
    assert not amctc_threads()


def test_turns_come_in_order() -> None:
    turns = Turns()
    order: list[int] = []

    def work(worker: int, number: int, item: int) -> None:
        threading.Event().wait(0.003 * (item % 3))
        with turns.of(number):
            order.append(number)

    list(side_by_side(range(4), range(20), work))
    assert order == list(range(20))


def test_who_waits_for_a_turn_that_does_not_come_is_stopped() -> None:
    turns = Turns()

    def work(worker: int, number: int, item: int) -> None:
        if number == 3:
            turns.failed(number)
            raise KeyError("three")
        with turns.of(number):
            pass

    done = 0
    with pytest.raises(KeyError, match="three"):
        for _ in side_by_side(range(4), range(20), work):
            done += 1
    assert done == 3
    with pytest.raises(Stopped), turns.of(5):
        pass


def test_a_failure_does_not_stop_the_turns_before_it() -> None:
    turns = Turns()
    turns.failed(1)
    with turns.of(0):
        pass
    with pytest.raises(Stopped), turns.of(2):
        pass
