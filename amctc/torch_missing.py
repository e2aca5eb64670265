"""The one place that says what to do where torch is not installed. It imports nothing of torch itself."""

from __future__ import annotations

from importlib.util import find_spec

from amctc.diagnostics import error


def need_torch(what: str = "training") -> None:
    """Raise `DiagnosticError` (AM900) unless torch is installed. To be called before what needs it is imported."""
    if find_spec("torch") is None:
        help = 'install it beside amctc: `pip install "amctc[torch]"`'
        raise error("AM900", f"{what} needs torch, which is not installed", help=help)
