"""The observers by name: who chooses the scale of an activation from what calibration shows of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.quant.entropy import EntropyObserver
from amctc.quant.grid import check_scale, grid_limits
from amctc.quant.hfmg import HFMG
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.mse import MseObserver
from amctc.quant.observer import UNBOUNDED, Bounds, IfmrObserver
from amctc.quant.percentile import PercentileObserver
from amctc.registered import BUILT_IN, Registered, Registration, clash, owner_here, span_of_caller, wrong_call

USUAL_OBSERVER = "ifmr"
"""The observer of a layer for which nobody asks for another; the policy may say `hfmg` instead."""

_COUNTING: Final = {kind.kind: kind for kind in (IfmrObserver, PercentileObserver, EntropyObserver, MseObserver)}

MERGING: Final = (*_COUNTING, MinMaxObserver.kind)
"""The observers of which several, merged, find what one would have found that had seen all."""

BUILT_IN_OBSERVERS = (*MERGING, HFMG)
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Observer(Protocol):
    """Sees one activation batch by batch, and chooses its grid at the end."""

    def update(self, array: NDArray[np.float32], /) -> None:
        """Take in an array of the activation, its first axis the samples; it is overwritten afterwards."""

    def finish(self) -> IfmrResult:
        """The grid. `DiagnosticError` where the data do not allow one."""
        ...


class MergingObserver(Observer, Protocol):
    """One of `MERGING`."""

    def merge(self, other: Self, /) -> None:
        """Take in all that an observer of its kind and settings has seen."""
        ...


ObserverFactory: TypeAlias = Callable[[IfmrSettings, str], Observer]
"""Makes the observer of one activation, from the settings of its layers and their names for messages."""

OBSERVERS: Registered[ObserverFactory] = Registered("observer")


def register_observer(name: str, factory: ObserverFactory) -> Registration:
    """Register an observer in this process; `observe{observer=NAME}` in a pipeline asks for it.

    `factory(settings, layer)` makes one for each activation, see `Observer`. Raises `DiagnosticError`: AM520 for a
    name that another has, AM523 for what cannot be a name or a factory.
    """
    owner = owner_here()
    word = _NAME.fullmatch(name) is not None
    problem = wrong_call(factory, ("settings", "layer")) if word else "that is no name"
    if problem is not None:
        message = f"the observer `{name}` of {owner.name} cannot be registered: {problem}"
        help = "`register_observer(name, factory)`: a name such as `my-observer`, and `factory(settings, layer)`"
        raise error("AM523", message, span_of_caller(), help=help)
    if name in BUILT_IN_OBSERVERS:
        raise clash("observer", name, BUILT_IN, owner.name)
    return OBSERVERS.enter(name, factory, owner)


def check_observer(name: str) -> None:
    """Raise `DiagnosticError` AM524 where there is no observer of that name."""
    known = (*BUILT_IN_OBSERVERS, *OBSERVERS.rows)
    if name not in known:
        help = did_you_mean(name, known) or f"there are: {', '.join(known)}"
        raise error("AM524", f"there is no observer named `{name[:60]}`", help=help)


def merging_observer(
    name: str, settings: IfmrSettings, layer: str, per_sample: int, within: Bounds = UNBOUNDED
) -> MergingObserver:
    """A new one of `MERGING`; `per_sample` is how many values of a sample are counted, where not all are.

    `within` are bounds which the op that gives the values keeps.
    """
    if name == MinMaxObserver.kind:
        return MinMaxObserver(settings, layer, within=within)
    return _COUNTING[name](settings, layer, per_sample=per_sample, within=within)


def make_observer(name: str, settings: IfmrSettings, layer: str) -> Observer:
    """A registered observer. What it raises or gives that is no grid is AM525, naming its owner.

    Raises `DiagnosticError`: AM524 where there is none of that name, AM525 where its factory fails.
    """
    check_observer(name)
    row = OBSERVERS.rows[name]
    what = f"the observer `{name}` of {row.owner.name}"
    with _told(what, layer):
        observer = row.value(settings, layer)
        if not callable(getattr(observer, "update", None)) or not callable(getattr(observer, "finish", None)):
            raise TypeError(f"its factory gives {type(observer).__name__}, which has no `update` and `finish`")
    return _Watched(observer, what, settings, layer)


@dataclass(frozen=True)
class _Watched:
    """An observer that may be anybody's."""

    observer: Observer
    what: str
    settings: IfmrSettings
    layer: str

    def update(self, array: NDArray[np.float32], /) -> None:
        with _told(self.what, self.layer):
            self.observer.update(array)

    def finish(self) -> IfmrResult:
        with _told(self.what, self.layer):
            found = self.observer.finish()
            if not isinstance(found, IfmrResult):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"`finish` gives {type(found).__name__} and no IfmrResult")
            lowest, highest = grid_limits(self.settings.bits)
            if found.bits != self.settings.bits:
                raise ValueError(f"`finish` gives {found.bits} bits where {self.settings.bits} are asked for")
            if not lowest <= found.offset <= highest or (found.offset and not self.settings.with_offset):
                raise ValueError(f"`finish` gives the offset {found.offset}")
            check_scale(found.scale, self.layer)
        return found


@contextmanager
def _told(what: str, layer: str) -> Generator[None]:
    try:
        yield
    except DiagnosticError:
        raise
    except Exception as failure:  # of code that is not ours
        message = f"{what} failed at layer `{layer}`: {type(failure).__name__}: {failure}"
        raise error("AM525", message) from failure
