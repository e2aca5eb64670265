"""What a process registers beside the built-ins: with its owner, so that it can be named in messages and taken back."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

from amctc.diagnostics import DiagnosticError, error
from amctc.source import SourceFile, Span

T = TypeVar("T")
BUILT_IN = "amctc"
"""The owner of what comes with the program."""


@dataclass(frozen=True)
class Owner:
    """Who registers something: a plug-in or a module. `name` is what users read, `key` tells two owners apart."""

    name: str = field(compare=False)
    key: str


@dataclass
class _Loading:
    owner: Owner
    undo: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


_LOADING: ContextVar[_Loading | None] = ContextVar("_LOADING", default=None)


@contextmanager
def all_or_nothing(owner: Owner) -> Generator[None]:
    """What is registered inside belongs to `owner`; when the block raises, all of it is taken back."""
    outer = _LOADING.get()
    loading = _Loading(owner)
    token = _LOADING.set(loading)
    try:
        yield
    except BaseException:
        for undo in reversed(loading.undo):
            undo()
        raise
    finally:
        _LOADING.reset(token)
    if outer is not None:
        outer.undo += loading.undo


class Registration:
    """Something that was registered; `remove` takes it back, and so does the end of a `with` block."""

    def __init__(self, name: str, remove: Callable[[], None]) -> None:
        self.name = name
        self._remove = remove

    def remove(self) -> None:
        """Take it back; a second time, or where it has been replaced, nothing happens."""
        self._remove()

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


@dataclass(frozen=True)
class Row(Generic[T]):
    value: T
    owner: Owner


class Registered(Generic[T]):
    """The things of one kind that this process has registered, by name, in the order of their registration."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.version = 0
        """Grows with every change."""
        self._rows: dict[str, Row[T]] = {}

    @property
    def rows(self) -> Mapping[str, Row[T]]:
        return self._rows

    def get(self, name: str) -> T | None:
        row = self._rows.get(name)
        return None if row is None else row.value

    def enter(self, name: str, value: T, owner: Owner) -> Registration:
        """Register. The same owner may do so again: the later one counts. Raises `DiagnosticError` AM520 for others."""
        old = self._rows.get(name)
        if old is not None and old.owner != owner:
            raise clash(self.what, name, old.owner.name, owner.name)
        row = Row(value, owner)
        self._set(name, row)
        loading = _LOADING.get()
        if loading is not None:
            loading.undo.append(lambda: self._leave(name, row, old))
        return self.registration(name)

    def registration(self, name: str) -> Registration:
        """What takes back the thing of this name that is registered now. KeyError where there is none."""
        row = self._rows[name]
        return Registration(name, lambda: self._leave(name, row, None))

    def _leave(self, name: str, row: Row[T], back: Row[T] | None) -> None:
        if self._rows.get(name) is row:
            self._set(name, back)

    def _set(self, name: str, row: Row[T] | None) -> None:
        self.version += 1
        if row is None:
            del self._rows[name]
        else:
            self._rows[name] = row


def clash(what: str, name: str, first: str, second: str) -> DiagnosticError:
    """AM520: two owners claim one name."""
    message = f"the {what} `{name}` of {second} has the name of one of {first}"
    return error("AM520", message, span_of_caller(), help="give it a name of its own")


def wrong_call(function: Callable[..., object], parameters: Sequence[str]) -> str | None:
    """Why a function of anybody's cannot be called with these parameters, one behind the other; None where it can."""
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return "that is no plain function"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # one in C may not tell
    try:
        signature.bind(*parameters)
    except TypeError:
        return f"its parameters are {signature}"
    return None


def owner_here(module: str | None = None) -> Owner:
    """Who registers now: the plug-in that is being loaded, else the module, else that of the caller."""
    loading = _LOADING.get()
    if loading is not None:
        return loading.owner
    if module is None:
        place = _caller()
        module = BUILT_IN if place is None else place[0]
    if module == "__main__":
        return Owner(str(getattr(sys.modules[module], "__file__", module)), module)
    return Owner(module, module)


def span_of_caller() -> Span | None:
    """The line of code outside amctc that has called into it; None where there is no text of it."""
    place = _caller()
    return None if place is None else line_span(place[1], place[2])


def line_span(file: str, line: int) -> Span | None:
    """A line of a Python file, counted from 1; None where there is no text of it."""
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    source = SourceFile(file, text)
    start, end = source.line_range(line)
    start = end - len(text[start:end].lstrip())
    return source.span(start, end) if end > start else None


def _caller() -> tuple[str, str, int] | None:
    """Module, file and line of the nearest frame that runs no code of amctc."""
    frame = inspect.currentframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] != BUILT_IN:
            return module, frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None
