"""Plug-ins: Python modules whose import registers passes, targets and the like, from files and installed packages."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import traceback
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from amctc.diagnostics import Diagnostic, DiagnosticError, error
from amctc.registered import Owner, all_or_nothing, line_span
from amctc.source import Span

GROUP = "amctc.plugins"
"""The group of entry points; the value of each is the module to import."""

_LOADED: set[str] = set()
"""The keys of the installed plug-ins that this process has loaded: a module is imported once."""


def load_plugins(files: Sequence[str | Path] = (), *, entry_points: bool = True) -> None:
    """Load the installed plug-ins, each once in a process, and then the files, again if they were before.

    A plug-in that fails leaves none of its registrations behind. Raises `DiagnosticError`: AM520 for a name that
    has another owner, AM521 where the import fails, AM522 for what is no Python file, AM523 for a class that
    cannot be registered.
    """
    if entry_points:
        for entry in installed_plugins():
            _load_installed(entry)
    for file in files:
        _load_file(Path(file))


def installed_plugins() -> tuple[EntryPoint, ...]:
    """The entry points of installed packages, by the name of the package."""
    found = importlib.metadata.entry_points(group=GROUP)
    return tuple(sorted(found, key=lambda entry: (_package(entry), entry.name)))


def _load_installed(entry: EntryPoint) -> None:
    key = f"{_package(entry)}:{entry.value}"
    if key in _LOADED:
        return
    top = entry.module.partition(".")[0]
    package = _package(entry)
    help = f"mend it, or take it off: `pip uninstall {package.partition(' ')[0]}`"
    with _told(package, top, help), _modules_restored(top), all_or_nothing(Owner(package, key)):
        entry.load()
    _LOADED.add(key)


def _package(entry: EntryPoint) -> str:
    """The distribution and its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _load_file(path: Path) -> None:
    if problem := _no_module(path):
        raise error("AM522", f"the plug-in `{path}` {problem}", help="give a Python file, e.g. `--plugin my_pass.py`")
    place = os.path.realpath(path)
    name = f"amctc_plugin_{zlib.crc32(os.fsencode(place)):08x}"
    spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:
        raise error("AM522", f"the plug-in `{path}` cannot be imported as a module")
    module = module_from_spec(spec)
    sys.modules.pop(name, None)
    with _told(str(path), name, None), _modules_restored(name), all_or_nothing(Owner(str(path), place)):
        sys.modules[name] = module  # dataclasses look up the module of their class
        spec.loader.exec_module(module)


def _no_module(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder"
    if not path.exists():
        return "does not exist"
    if not path.is_file() or path.suffix != ".py":
        return "is not a `.py` file"
    return None


class _Loader(SourceFileLoader):
    """Compiles the file each time: nothing is written beside it, and no old bytecode is taken for it."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextmanager
def _modules_restored(top: str) -> Generator[None]:
    """When the block raises, the modules of the plug-in count as not imported, so that it can be tried again."""
    before = dict(sys.modules)
    try:
        yield
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == top]:
            if name not in before:
                del sys.modules[name]
        raise


@contextmanager
def _told(owner: str, top: str, help: str | None) -> Generator[None]:
    """What a plug-in raises while it is imported, as AM521 at the line of the plug-in that failed."""
    try:
        yield
    except DiagnosticError as refusal:
        place = _place(refusal, top)
        span = None if place is None else line_span(*place)
        raise DiagnosticError(*(_placed(found, owner, span) for found in refusal.diagnostics)) from refusal
    except (Exception, SystemExit) as failure:
        place = _place(failure, top)
        span = None if place is None else line_span(*place)
        raise error(
            "AM521",
            f"the plug-in {owner} does not load: {words_of(failure)}",
            span,
            file=None if place is None or span is not None else f"{place[0]}:{place[1]}",
            help=help,
        ) from failure


def _placed(found: Diagnostic, owner: str, span: Span | None) -> Diagnostic:
    """A diagnostic of something that the plug-in called."""
    note = () if owner in found.message else (f"in the plug-in {owner}",)
    return replace(found, span=found.span or span, notes=(*found.notes, *note))


def _place(failure: BaseException, top: str) -> tuple[str, int] | None:
    """File and line: of the text that cannot be compiled, else the innermost of the plug-in's own."""
    if isinstance(failure, SyntaxError) and failure.filename and failure.lineno:
        return failure.filename, failure.lineno
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(failure.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == top
    ]
    return own[-1] if own else None


def words_of(failure: BaseException) -> str:
    """The exception on one line."""
    text = failure.msg if isinstance(failure, SyntaxError) else str(failure)
    return " ".join(f"{type(failure).__name__}: {text}".split()).removesuffix(":")[:500]
