"""The file of a calibration that was interrupted: what was seen, and of what.

The bytes are a mark with the version, the length of a table, the table as JSON, states one after the other, and the
SHA-256 of all that. The table has what identifies the calibration, and of each state the name of its look and its
length.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from amctc.runtime.calibration_state import CalibrationState, NoState
from amctc.runtime.sharded_calibration import Found

MARK: Final = b"amctc checkpoint"
"""What every version of the file begins with."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<16sII")
_DIGEST: Final = 32
_MOST_TABLE: Final = 1 << 24
_MOST_BYTES: Final = 1 << 33


@dataclass(frozen=True)
class Checkpoint:
    """What was seen, by the name of the look, of the calibration that `identity` tells: words by what they identify."""

    identity: Mapping[str, str]
    found: Found

    def to_bytes(self) -> bytes:
        states = [(name, state.to_bytes()) for name, states in self.found.items() for state in states]
        listed = [[name, len(state)] for name, state in states]
        table = json.dumps({"identity": dict(self.identity), "states": listed}, sort_keys=True).encode()
        content = b"".join([_HEAD.pack(MARK, _VERSION, len(table)), table, *(state for _, state in states)])
        return content + hashlib.sha256(content).digest()

    @staticmethod
    def from_bytes(data: bytes) -> Checkpoint:
        """The inverse. Nothing in `data` is trusted; raises `NoState`."""
        if len(data) < _HEAD.size + _DIGEST:
            raise NoState("it is too short")
        content, digest = data[:-_DIGEST], data[-_DIGEST:]
        mark, version, size = _HEAD.unpack(content[: _HEAD.size])
        if mark != MARK:
            raise NoState("it is no checkpoint")
        if version != _VERSION:
            raise NoState(f"it is of version {version}, not {_VERSION}")
        if hashlib.sha256(content).digest() != digest:
            raise NoState("its checksum differs: it is damaged")
        if size > min(_MOST_TABLE, len(content) - _HEAD.size):
            raise NoState("its table is longer than it is")
        end = _HEAD.size + size
        identity, listed = _table(content[_HEAD.size : end])
        if sum(length for _, length in listed) != len(content) - end:
            raise NoState("its states have other lengths than it says")
        found: dict[str, list[CalibrationState]] = {}
        for name, length in listed:
            found.setdefault(name, []).append(CalibrationState.from_bytes(content[end : end + length]))
            end += length
        return Checkpoint(identity, found)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of a file. Raises `NoState`, and `OSError`."""
    if path.stat().st_size > _MOST_BYTES:
        raise NoState(f"it is longer than {_MOST_BYTES} bytes")
    return Checkpoint.from_bytes(path.read_bytes())


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint of whatever version, so that it may be replaced. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def _table(text: bytes) -> tuple[dict[str, str], list[tuple[str, int]]]:
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise NoState("its table cannot be read") from None
    identity: Any = table.get("identity") if isinstance(table, dict) else None
    states: Any = table.get("states") if isinstance(table, dict) else None
    if not isinstance(identity, dict) or not isinstance(states, list):
        raise NoState("its table is none")
    if not all(isinstance(word, str) for word in identity.values()):
        raise NoState("what it identifies is none")
    return identity, [_listed(entry) for entry in states]


def _listed(entry: object) -> tuple[str, int]:
    if isinstance(entry, list) and len(entry) == 2:
        name, length = entry
        if isinstance(name, str) and type(length) is int and length > 0:
            return name, length
    raise NoState("its list of states is none")
