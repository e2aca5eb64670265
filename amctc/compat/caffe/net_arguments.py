"""The ways in which scripts make a net."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from amctc.compat.caffe.errors import CaffeArgumentError
from amctc.compat.caffe.modes import PHASES
from amctc.diagnostics import Diagnostic
from amctc.frontends.caffe import NetState
from amctc.frontends.caffe.net_state import Phase

_HELP = "`caffe.Net(prototxt, caffemodel, caffe.TEST)`, or `caffe.Net(prototxt, caffe.TEST, weights=caffemodel)`"
_NAMES = ("network_file", "phase", "level", "stages", "weights")
_PHASES: Mapping[int, Phase] = {0: "TRAIN", 1: "TEST"}


@dataclass(frozen=True)
class NetArguments:
    """What `caffe.Net(…)` was given."""

    network_file: str
    weights: str | None
    state: NetState

    @classmethod
    def of(cls, args: tuple[object, ...], kwargs: Mapping[str, object]) -> NetArguments:
        """From any form of the call. Raises `CaffeArgumentError` (AM660) for what is none."""
        given = dict(zip(_order(args), args, strict=False))
        if len(args) > len(given):
            raise _wrong(f"`caffe.Net` takes at most {len(_NAMES)} arguments")
        for name, value in kwargs.items():
            if name not in _NAMES:
                raise _wrong(f"`caffe.Net` takes no argument `{name}`")
            if name in given:
                raise _wrong(f"`caffe.Net` was given `{name}` twice")
            given[name] = value
        for name in ("network_file", "phase"):
            if name not in given:
                raise _wrong(f"`caffe.Net` needs the argument `{name}`")
        weights = given.get("weights")
        return cls(
            _path("network_file", given["network_file"]),
            None if weights is None else _path("weights", weights),
            NetState(_phase(given["phase"]), _level(given.get("level", 0)), _stages(given.get("stages"))),
        )


def _order(args: tuple[object, ...]) -> tuple[str, ...]:
    """The names of arguments given without: the phase is a number, the files may stand before it or around it."""
    if len(args) > 1 and _is_path(args[1]):
        return ("network_file", "weights", "phase")
    if len(args) == 3 and _is_path(args[2]):
        return ("network_file", "phase", "weights")
    return _NAMES


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _path(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise _wrong(f"`{name}` must be the path of a file, not {type(value).__name__}")
    path: str | bytes = os.fspath(value)
    return os.fsdecode(path)


def _phase(value: object) -> Phase:
    if isinstance(value, int) and value in PHASES:
        return _PHASES[value]
    raise _wrong(f"the phase must be `caffe.TEST` or `caffe.TRAIN`, not {str(value)[:40]!r}")


def _level(value: object) -> int:
    if isinstance(value, int):
        return value
    raise _wrong(f"`level` must be a whole number, not {type(value).__name__}")


def _stages(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    names: list[object] = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise _wrong("`stages` must be a list of names")
    return frozenset(str(name) for name in names)


def _wrong(message: str) -> CaffeArgumentError:
    return CaffeArgumentError(Diagnostic("AM660", message, help=_HELP))
