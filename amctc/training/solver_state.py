"""Snapshots of a solver: `.solverstate` files, as Caffe writes and reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.caffe.blob_proto import DAMAGED, read_blob
from amctc.ir.node import Shape
from amctc.targets.caffe.files import write_blob
from amctc.text.files import map_file
from amctc.text.proto_schema import load_schema
from amctc.text.wire import LEN, VARINT, WireError, WireField, string, walk, write_field
from amctc.training.places import located

_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4
"""Field numbers of `SolverState`."""

MOST_HISTORY: Final = 1 << 16
"""Blobs of a file: a network of 10,000 layers has some 60,000."""


@dataclass(frozen=True)
class SolverState:
    """Where a training stands: `iteration` updates have been made, of which the history tells.

    `learned_net` is the file with the weights, as it was named; None where the state names none. `step` is how many
    steps a `step` or `multistep` rate has made.
    """

    iteration: int
    learned_net: str | None
    step: int
    history: tuple[NDArray[Any], ...]


def state_bytes(state: SolverState) -> bytes:
    """The content of a `.solverstate` file."""
    fields = [WireField(_ITER, VARINT, state.iteration)]
    if state.learned_net is not None:
        fields.append(WireField(_LEARNED_NET, LEN, memoryview(state.learned_net.encode())))
    for array in state.history:
        blob: Any = load_schema("caffe_weights.proto").message("caffe_weights.Blob")()
        write_blob(blob, array)
        fields.append(WireField(_HISTORY, LEN, memoryview(blob.SerializeToString(deterministic=True))))
    fields.append(WireField(_CURRENT_STEP, VARINT, state.step))
    return b"".join(map(write_field, fields))


def read_state(path: str | Path) -> SolverState:
    """The content of a `.solverstate` file, from Caffe or from here; history blobs are float32.

    Raises `DiagnosticError`: AM310 unreadable file, AM920 one that is damaged or something else.
    """
    data = map_file(path)
    iteration = step = 0
    learned: str | None = None
    history: list[NDArray[Any]] = []
    if bytes(data[:8]) == b"\x89HDF\r\n\x1a\n":
        raise _damaged(path, "it is in HDF5, which is not read", "write it again with `snapshot_format: BINARYPROTO`")
    try:
        for field in walk(data):
            match field.number:
                case 1:
                    iteration = field.int32
                case 2:
                    learned = string(field.payload)
                case 3:
                    history.append(_blob(field, len(history)))
                case 4:
                    step = field.int32
                case other:
                    raise WireError(f"a solver state has no field {other}")
    except (WireError, ValueError) as problem:
        raise _damaged(path, str(problem), DAMAGED) from None
    if not len(data):
        raise _damaged(path, "it is empty", DAMAGED)
    if iteration < 0 or step < 0:
        raise _damaged(path, f"it tells of iteration {iteration} and step {step}", DAMAGED)
    return SolverState(iteration, learned, step, tuple(history))


def learned_weights(state: SolverState, path: str | Path) -> Path | None:
    """The weights file that the state in a file names: where it is named, or else of that name beside the state."""
    if state.learned_net is None:
        return None
    folder = Path(path).parent
    found, beside = located(state.learned_net, folder), folder / Path(state.learned_net).name
    return beside if not found.exists() and beside.exists() else found


def checked_history(state: SolverState, shapes: Sequence[Shape], path: str | Path) -> list[NDArray[Any]]:
    """The history in the shapes that the solver needs. Raises `DiagnosticError` (AM921) where it does not fit."""
    help = "resume with the solver file and the net that the snapshot was made with"
    if len(state.history) != len(shapes):
        message = f"the solver state has {len(state.history)} history blobs, and this solver needs {len(shapes)}"
        raise error("AM921", message, file=str(path), help=help)
    for index, (array, shape) in enumerate(zip(state.history, shapes, strict=True)):
        if array.size != int(np.prod(shape, dtype=np.int64)) or not _fits(array.shape, shape):
            message = f"history blob {index} of the solver state has the shape {array.shape}, the weight {shape}"
            raise error("AM921", message, file=str(path), help=help)
    return [array.reshape(shape) for array, shape in zip(state.history, shapes, strict=True)]


def _blob(field: WireField, count: int) -> NDArray[Any]:
    if count == MOST_HISTORY:
        raise WireError(f"it has more than {MOST_HISTORY} history blobs")
    if field.kind != LEN:
        raise WireError(f"history blob {count} is a number")
    try:
        array = read_blob(field.payload)
    except ValueError as problem:  # a WireError among them
        raise WireError(f"history blob {count} {problem}") from None
    if array.dtype != np.float32:
        raise WireError(f"history blob {count} holds {array.dtype}")
    return array


def _fits(found: Shape, wanted: Shape) -> bool:
    return tuple(side for side in found if side != 1) == tuple(side for side in wanted if side != 1)


def _damaged(path: str | Path, why: str, help: str) -> DiagnosticError:
    return error("AM920", f"this is not a readable solver state: {why}", file=str(path), help=help)
