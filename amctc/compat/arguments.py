"""What callers give, looked at before anything is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral

from amctc.diagnostics import did_you_mean, error


def path(name: str, value: object) -> str:
    """A path. Raises `DiagnosticError`: AM630 for another type, AM631 for an empty one or one that ends in a slash."""
    text = _path_text(name, value)
    if not text:
        raise error("AM631", f"`{name}` is empty", help="give the path of a file")
    if text.endswith("/"):
        raise error("AM631", f"`{name}` is `{text}`, which names a folder", help="give the path of a file")
    return text


def prefix(name: str, value: object) -> str:
    """A path whose last part begins the names of files; after a slash, or alone, these have no such beginning."""
    return _path_text(name, value) or "./"


def optional_path(name: str, value: object) -> str | None:
    return None if value is None else path(name, value)


def positive(name: str, value: object) -> int:
    """A whole number above 0. Raises `DiagnosticError`: AM630 for another type, AM631 for another number."""
    if not isinstance(value, Integral):
        raise _wrong_type(name, value, "an int")
    if value <= 0:
        raise error("AM631", f"`{name}` is {value}, but must be above 0", help="give 1 or more")
    return int(value)


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, value, "a bool")
    return value


def names(name: str, value: object) -> tuple[str, ...]:
    """Layer names; None means none."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _wrong_type(name, value, "a list of layer names")
    return tuple(value)


def word(name: str, value: object, known: Sequence[str]) -> str:
    """One of some words. Raises `DiagnosticError`: AM630 for another type, AM631 for another word."""
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if value not in known:
        help = did_you_mean(value, known) or f"give one of {', '.join(f'`{each}`' for each in known)}"
        raise error("AM631", f"`{name}` is `{value[:40]}`, which there is not", help=help)
    return value


def _path_text(name: str, value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise _wrong_type(name, value, "a path as a string")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise _wrong_type(name, value, "a path as a string")
    return text


def _wrong_type(name: str, value: object, wanted: str) -> Exception:
    given = "None" if value is None else f"of type `{type(value).__name__}`"
    return error("AM630", f"`{name}` is {given}, but must be {wanted}", help=f"give {wanted}")
