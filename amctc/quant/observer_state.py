"""The state of a built-in observer as bytes, to be kept in a file or sent to another process.

The bytes are a NumPy archive (`.npz`, nothing in it compressed or pickled): the arrays of the state, and `about`, the
rest as JSON text, with the kind of the observer and `VERSION`. Equal states give equal bytes.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.quant.entropy import EntropyObserver
from amctc.quant.hfmg import HfmgObserver
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.mse import MseObserver
from amctc.quant.observer import IfmrObserver
from amctc.quant.percentile import PercentileObserver
from amctc.quant.state_parts import State

VERSION = 1

MOST_BYTES = 64 << 20
"""No state is longer: the built-in ones, made as calibration makes them, take less than 1 MiB."""

BuiltInObserver: TypeAlias = IfmrObserver | HfmgObserver | MinMaxObserver
"""Any of the kinds below; the other ones are IfmrObservers."""

_KINDS: Final[Mapping[str, type[BuiltInObserver]]] = {
    kind.kind: kind
    for kind in (IfmrObserver, HfmgObserver, MinMaxObserver, PercentileObserver, EntropyObserver, MseObserver)
}
_ABOUT = "about"
_MOST_ABOUT = 1 << 14
_MOST_MEMBERS = 16
_MOST_HEADER = 1 << 9
_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY\x01\x00"
_PREFIX = len(_MAGIC) + 2
_TYPES: Final = {b"|u1": np.uint8, b"<i8": np.int64, b"<f4": np.float32}
_HEADER = re.compile(
    rb"\{'descr': '(?P<type>\|u1|<i8|<f4)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[0-9]{1,12},(?: [0-9]{1,12})?)\), \} *\n"
)
"""What NumPy writes of the arrays of states, and no more: its own reader evaluates more than that."""


def to_bytes(observer: BuiltInObserver) -> bytes:
    """All that an observer has seen."""
    state = observer.state()
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    about = {"version": VERSION, "observer": observer.kind} | {key: state[key] for key in state.keys() - arrays.keys()}
    text = json.dumps(about, sort_keys=True, allow_nan=False).encode()
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{_ABOUT: np.frombuffer(text, np.uint8)}, **arrays)
    return file.getvalue()


def from_bytes(data: bytes, name: str = "") -> BuiltInObserver:
    """The observer of these bytes; `name` is the layer, for messages.

    Nothing in them is trusted. What is no state, or one of another version, is an error (AM469).
    """
    try:
        about, arrays = _parts(data)
        if about.pop("version", None) != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        kind = about.pop("observer", None)
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError("its observer is none that is built in")
        state: State = {**about, **arrays}
        observer = _KINDS[kind].from_state(state, name)
        if observer.state().keys() != state.keys():
            raise ValueError(f"it has other parts than an observer `{kind}`")
    # What zipfile and NumPy raise for damaged files is not to be told in advance.
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, RuntimeError, EOFError) as reason:
        raise _unreadable(reason, name) from reason
    except (zipfile.BadZipFile, DiagnosticError) as reason:
        raise _unreadable(reason, name) from reason
    return observer


def _parts(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS or len({member.filename for member in members}) < len(members):
            raise ValueError("it has too many parts")
        arrays: dict[str, NDArray[Any]] = {}
        for member in members:
            plain = member.compress_type == zipfile.ZIP_STORED and member.file_size <= len(data)
            if not plain or not member.filename.endswith(_SUFFIX):
                raise ValueError("a part is no plain array")
            arrays[member.filename.removesuffix(_SUFFIX)] = _array(archive.read(member))
    text = arrays.pop(_ABOUT, np.zeros(0))
    if text.dtype != np.uint8 or text.ndim != 1 or not 0 < text.size <= _MOST_ABOUT:
        raise ValueError(f"it has no part `{_ABOUT}`")
    about = json.loads(text.tobytes().decode())
    if not isinstance(about, dict) or about.keys() & arrays.keys():
        raise ValueError(f"its part `{_ABOUT}` is no table")
    return about, arrays


def _array(data: bytes) -> NDArray[Any]:
    """The array of a `.npy` file as NumPy writes one, whose header says no more than there is."""
    size = int.from_bytes(data[8:_PREFIX], "little")
    header = (
        _HEADER.fullmatch(data[_PREFIX : _PREFIX + size]) if data.startswith(_MAGIC) and size <= _MOST_HEADER else None
    )
    if header is None:
        raise ValueError("a part is no plain array of numbers")
    dtype = np.dtype(_TYPES[header["type"]])
    shape = [int(number) for number in header["shape"].replace(b",", b" ").split()]
    body = data[_PREFIX + size :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError("a part has another size than it says")
    return np.frombuffer(body, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _unreadable(reason: Exception, name: str) -> DiagnosticError:
    what = reason.diagnostics[0].message if isinstance(reason, DiagnosticError) else str(reason)
    whose = f" of layer `{name}`" if name else ""
    message = f"the state of the observer{whose} cannot be read: {what[:200] or type(reason).__name__}"
    return error("AM469", message, help="calibrate anew, or read it with the amctc that wrote it")
