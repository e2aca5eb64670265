"""A calibration that stopped goes on from its checkpoint, to what one run has; a damaged file is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from amctc.quant.observers import MERGING
from amctc.runtime.calibration_state import CalibrationState, NoState
from amctc.runtime.checkpoint import Checkpoint
from amctc.runtime.data_identity import data_identity, is_portable
from amctc.runtime.datasets import Dataset
from amctc.runtime.look import Look
from amctc.runtime.sharded_calibration import Found, observe_in_order, observe_in_shards
from tests.runtime.sharded import Here, alone, calibration, images, job_of, net, parts, readers


@pytest.fixture(autouse=True)
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each batch."""
    monkeypatch.setattr("amctc.runtime.sharded_calibration.TOGETHER", 1)


class Kept:
    """Keeps the last checkpoint as bytes, and can stop the run."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.data = Checkpoint({}, {}).to_bytes()
        self._stop_at = stop_at

    @property
    def found(self) -> Found:
        return Checkpoint.from_bytes(self.data).found

    def note(self, looks: Mapping[str, Look]) -> None:
        self.data = Checkpoint({}, {name: tuple(look.states()) for name, look in looks.items()}).to_bytes()
        if sum(look.done for look in looks.values()) == self._stop_at:
            raise KeyboardInterrupt


def test_a_run_in_this_process_goes_on_where_it_stopped(tmp_path: Path) -> None:
    graph = net(tmp_path)
    wanted, data = readers(graph), calibration(graph, images(10), 1, 10)
    searched = job_of(graph, wanted, data).per_sample
    kept, told = Kept(stop_at=8), list[int]()
    with pytest.raises(KeyboardInterrupt):
        observe_in_order(graph, wanted, 10, searched, data.stretch, {}, kept.note, told.append)
    assert told == list(range(9))
    told.clear()
    found = observe_in_order(graph, wanted, 10, searched, data.stretch, kept.found, kept.note, told.append)
    assert told == [8, 9, 10]
    assert parts(found) == alone(graph, wanted, data)


@pytest.mark.parametrize("stop_at", [6, 15])
def test_workers_go_on_with_the_shards_that_are_missing(tmp_path: Path, stop_at: int) -> None:
    graph = net(tmp_path)
    wanted, data = readers(graph), calibration(graph, images(10), 1, 10)
    job = job_of(graph, wanted, data)
    kept, told = Kept(stop_at), list[int]()
    with pytest.raises(KeyboardInterrupt):
        observe_in_shards(job, Here(job, 5), data.stretch, {}, kept.note, told.append)
    told.clear()
    found = observe_in_shards(job, Here(job, 5), data.stretch, kept.found, kept.note, told.append)
    assert told[0] == stop_at // 2 and len(told) == 1 + 20 - stop_at
    assert parts(found) == alone(graph, wanted, data)


def test_what_workers_began_one_process_can_end(tmp_path: Path) -> None:
    graph = net(tmp_path)
    wanted, data = readers(graph, MERGING), calibration(graph, images(10), 1, 10)
    job = job_of(graph, wanted, data)
    kept = Kept(stop_at=7)
    with pytest.raises(KeyboardInterrupt):
        observe_in_shards(job, Here(job, 5), data.stretch, {}, kept.note, lambda done: None)
    assert [state.start for states in kept.found.values() for state in states] == [3, 4, 5, 6, 7, 8, 9]
    told: list[int] = []
    found = observe_in_order(graph, wanted, 10, job.per_sample, data.stretch, kept.found, kept.note, told.append)
    assert told == [7, 8, 9, 10]
    assert parts(found) == alone(graph, wanted, data)


def checkpoint() -> Checkpoint:
    return Checkpoint(
        {"model": "a"}, {"first": (CalibrationState(0, 2, ((b"x",),)), CalibrationState(4, 5, ((b"y",),)))}
    )


def sealed(table: object, rest: bytes = b"") -> bytes:
    text = json.dumps(table).encode()
    content = struct.pack("<16sII", b"amctc checkpoint", 1, len(text)) + text + rest
    return content + hashlib.sha256(content).digest()


def test_a_checkpoint_is_read_back_from_its_bytes() -> None:
    found = Checkpoint.from_bytes(checkpoint().to_bytes())
    assert found.identity == {"model": "a"}
    assert {name: tuple(states) for name, states in found.found.items()} == checkpoint().found


def test_damaged_checkpoints_are_refused_whatever_is_wrong() -> None:
    data = checkpoint().to_bytes()
    broken = [data[:cut] for cut in range(0, len(data), 3)]
    broken += [data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(0, len(data), 7)]
    listed: list[object] = [None, 3, [["a", 5]], [["a", -1]], [["a", True]], [[1, 1]], [["a"]], "ab"]
    broken += [sealed({"identity": {}, "states": states}) for states in listed]
    broken += [sealed({"identity": {"a": 1}, "states": []}), sealed([]), sealed({}), sealed({"identity": {}})]
    broken += [sealed({"identity": {}, "states": [["a", 3]]}, b"abc"), sealed({"identity": {}, "states": []}, b"abc")]
    for each in broken:
        with pytest.raises(NoState):
            Checkpoint.from_bytes(each)


def opened(data: object) -> Dataset:
    return Dataset.open(data, inputs={"data": (1, 3, 24, 24)})  # type: ignore[arg-type]


def test_data_are_told_from_others_by_content_or_by_name_size_and_time(tmp_path: Path) -> None:
    samples = images(4)
    other = samples.copy()
    other[3, 2, 1, 0] += 1
    np.save(tmp_path / "a.npy", samples)
    np.save(tmp_path / "b.npy", samples)
    samples.tofile(tmp_path / "a.bin")
    kinds = [samples, other, *(str(tmp_path / name) for name in ("a.npy", "b.npy", "a.bin"))]
    sets = [opened(kind) for kind in kinds] + [opened(samples).select(1), opened(samples).sample(2, 7)]
    found = [data_identity(each) for each in sets]
    assert None not in found and len(set(found)) == len(found)
    assert [data_identity(opened(kind)) for kind in kinds] == found[: len(kinds)]
    np.save(tmp_path / "a.npy", np.concatenate([samples, other]))
    assert data_identity(opened(str(tmp_path / "a.npy"))) != found[2]
    assert data_identity(opened(list(samples))) is None


def test_what_is_little_more_than_names_of_files_is_portable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = images(4)
    np.save(tmp_path / "a.npy", samples)
    np.save(tmp_path / "f.npy", np.asfortranarray(samples))
    assert is_portable(opened(str(tmp_path / "a.npy")).source) and is_portable(opened(samples).source)
    assert not is_portable(opened(list(samples)).source)
    monkeypatch.setattr("amctc.runtime.data_identity.SENT", samples.nbytes - 1)
    assert is_portable(opened(str(tmp_path / "a.npy")).source)
    assert not is_portable(opened(str(tmp_path / "f.npy")).source) and not is_portable(opened(samples).source)


def test_the_states_of_other_observers_are_refused(tmp_path: Path) -> None:
    graph = net(tmp_path)
    data = calibration(graph, images(4), 1, 4)
    job = job_of(graph, readers(graph, ["ifmr"]), data)
    kept = Kept(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        observe_in_shards(job, Here(job, 5), data.stretch, {}, kept.note, lambda done: None)
    others = [job_of(graph, readers(graph, ["mse"]), data), dataclasses.replace(job, per_sample=job.per_sample + 1)]
    for other in others:
        with pytest.raises(NoState):
            observe_in_shards(other, Here(other), data.stretch, kept.found, kept.note, lambda done: None)
