"""`module:function`: a function of the user's own that gives a torch module and example inputs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch

from amctc.diagnostics import DiagnosticError, error
from amctc.frontends.torch.export import export_module
from amctc.plugins import words_of

if TYPE_CHECKING:
    import onnx

_OPTIONS: Final = ("input_names", "output_names", "dynamic_axes")
_GIVES: Final = (
    "it returns `(module, inputs)`, the inputs as one tensor or a tuple of them, and as a third what "
    "`export_module` takes beside these: `{'dynamic_axes': {'x': {0: 'batch'}}}`"
)


def export_function(name: str) -> onnx.ModelProto:
    """The ONNX model of the module that a function gives; `name` is `module:function`, found as Python finds modules.

    The working folder is searched first. This runs the code of that module, as importing it does. The function takes
    nothing and returns `(module, example inputs)` or `(module, example inputs, options)`, where the options are
    keyword arguments of `export_module`. Raises `DiagnosticError`: AM484 where there is no such function, it fails
    or returns something else, AM480 and AM481 as `export_module` does.
    """
    place, _, function = name.partition(":")
    with _here():
        with _told(name):
            made = getattr(importlib.import_module(place), function, None)
            if not callable(made):
                raise error("AM484", f"the module `{place}` has no function `{function}`", help=_GIVES)
            given = made()
        if not isinstance(given, tuple) or not 2 <= len(given) <= 3 or not isinstance(given[0], torch.nn.Module):
            raise error("AM484", f"`{name}` does not return a torch module and its inputs", help=_GIVES)
        module, inputs = given[:2]
        return export_module(module, inputs, **_options(name, given[2] if len(given) > 2 else {}))


def _options(name: str, options: object) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise error("AM484", f"the third that `{name}` returns is no dictionary of options", help=_GIVES)
    unknown = next((key for key in options if key not in _OPTIONS), None)
    if unknown is not None:
        help = "the options are " + ", ".join(f"`{each}`" for each in _OPTIONS)
        raise error("AM484", f"`{name}` returns an option `{str(unknown)[:40]}`, which does not exist", help=help)
    return dict(options)


@contextmanager
def _here() -> Generator[None]:
    """Search the working folder for modules, before all others."""
    before = list(sys.path)
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _told(name: str) -> Generator[None]:
    place = name.partition(":")[0]
    try:
        yield
    except DiagnosticError:
        raise
    except ModuleNotFoundError as failure:
        if failure.name is not None and (place + ".").startswith(failure.name + "."):
            help = "a model is a file, or `module:function` with a module that Python finds from here"
            raise error("AM484", f"there is no module `{failure.name}`", help=help) from None
        raise error("AM484", f"`{name}` fails: {words_of(failure)}", help=None) from failure
    except (Exception, SystemExit) as failure:
        raise error("AM484", f"`{name}` fails: {words_of(failure)}", help=None) from failure
