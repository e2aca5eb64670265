"""`.solverstate` files: Caffe's are read, ours are Caffe's, and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.schema import caffe_schema
from amctc.training.solver_state import MOST_HISTORY, SolverState, checked_history, read_state, state_bytes

HISTORY = (np.arange(6, dtype=np.float32).reshape(2, 3), np.full(1, -0.5, np.float32))
STATE = SolverState(1234, "out/net_iter_1234.caffemodel", 7, HISTORY)


def message(data: bytes = b"") -> Any:
    found = caffe_schema().message("caffe.SolverState")()
    found.ParseFromString(data)
    return found


def written(folder: Path, data: bytes) -> Path:
    path = folder / "net.solverstate"
    path.write_bytes(data)
    return path


def same(one: SolverState, other: SolverState) -> bool:
    heads = [(state.iteration, state.learned_net, state.step) for state in (one, other)]
    return heads[0] == heads[1] and all(map(np.array_equal, one.history, other.history))


def test_what_is_written_is_a_solver_state_of_caffe() -> None:
    read = message(state_bytes(STATE))
    assert (read.iter, read.learned_net, read.current_step) == (1234, "out/net_iter_1234.caffemodel", 7)
    assert [list(blob.shape.dim) for blob in read.history] == [[2, 3], [1]]
    assert list(read.history[0].data) == [0, 1, 2, 3, 4, 5]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for state in (STATE, SolverState(0, None, 0, ())):
        assert same(read_state(written(tmp_path, state_bytes(state))), state)


def test_states_of_old_caffes_are_read(tmp_path: Path) -> None:
    old = message()
    old.iter = 5
    blob = old.history.add(num=1, channels=1, height=2, width=2)
    blob.data.extend([1, 2, 3, 4])
    double = old.history.add()
    double.shape.dim.extend([3])
    double.double_data.extend([1, 2, 3])
    found = read_state(written(tmp_path, old.SerializeToString()))
    assert (found.iteration, found.learned_net, found.step) == (5, None, 0)
    assert [array.shape for array in found.history] == [(1, 1, 2, 2), (3,)]
    assert [array.shape for array in checked_history(found, [(2, 2), (3,)], "x")] == [(2, 2), (3,)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"\xff\xff\xff", "in the middle"),
        (state_bytes(STATE)[:-20], "bytes, of which"),
        (b"layer { name: 'x' }", "wire type|field|length"),
        (message().SerializeToString() + b"\x08" + b"\xff" * 9 + b"\x01", "iteration -1"),
        (b"\x20" + b"\xff" * 9 + b"\x01", "step -1"),
        (b"\x2a\x00", "no field 5"),
        (b"\x18\x05", "is a number"),
        (b"\x1a\x06\x3a\x02\x08\x7f\x2a\x00", "shape|bytes"),
        (b"\x1a\x06\x3a\x04\x0a\x02\xff\x7f", "history blob 0 has the shape"),
        (b"\x1a\x03\x52\x01\x05", "holds int8"),
    ],
)
def test_a_damaged_state_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=rf"AM920[\s\S]*({words})"):
        read_state(written(tmp_path, data))


def test_every_cut_of_a_state_is_read_or_refused_with_words(tmp_path: Path) -> None:
    data = state_bytes(STATE)
    for end in range(len(data)):
        try:
            read_state(written(tmp_path, data[:end]))
        except DiagnosticError as refusal:
            assert [diagnostic.code for diagnostic in refusal.diagnostics] == ["AM920"]


def test_blobs_without_end_are_not_gathered(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"AM920.*more than"):
        read_state(written(tmp_path, b"\x1a\x00" * (MOST_HISTORY + 1)))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(2, 3)], "has 2 history blobs, and this solver needs 1"),
        ([(2, 3), (2,)], r"blob 1 .* shape \(1,\), the weight \(2,\)"),
        ([(3, 2), (1,)], r"blob 0 .* shape \(2, 3\)"),
    ],
)
def test_a_state_of_another_training_is_refused(shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(DiagnosticError, match=f"AM921.*{words}"):
        checked_history(STATE, shapes, "net.solverstate")
