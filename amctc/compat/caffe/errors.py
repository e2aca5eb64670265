"""The exceptions of the stand-in: those of pycaffe, and diagnostics too."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from amctc.diagnostics import Diagnostic, DiagnosticError

LOG = logging.getLogger("amctc.compat.caffe")


class CaffeError(DiagnosticError, RuntimeError):
    """What Caffe would refuse: `except RuntimeError` catches it, and it carries diagnostics."""


class CaffeArgumentError(DiagnosticError, TypeError):
    """Arguments that no form of a function takes; pycaffe raises a TypeError too."""


class CaffeValueError(DiagnosticError, ValueError):
    """An argument of the right type that does not fit."""


def refusal(code: str, message: str, *, help: str | None = None, file: str | None = None) -> CaffeError:
    """A `CaffeError` of one diagnostic, to be raised by the caller."""
    return CaffeError(Diagnostic(code, message, help=help, file=file))


def no_training(what: str) -> CaffeError:
    """What to raise where a script asks for training."""
    help = "a net of its own runs forward only; train with a solver: `caffe.get_solver('solver.prototxt')`"
    return refusal("AM667", f"`{what}` needs the gradients of a training", help=help)


@contextmanager
def as_caffe_errors() -> Generator[None]:
    """Let a `DiagnosticError` from within leave as a `CaffeError`."""
    try:
        yield
    except (CaffeError, CaffeArgumentError, CaffeValueError):
        raise
    except DiagnosticError as mistake:
        raise CaffeError(*mistake.diagnostics) from mistake
