"""The command for editors: lsp."""

from __future__ import annotations

from typing import Annotated

import typer


def lsp(
    stdio: Annotated[bool, typer.Option("--stdio", help="accepted, because many editors add it")] = False,
) -> None:
    """Serve an editor as a language server for policies, on standard input and output."""
    from amctc.diagnostics import error

    try:
        from amctc.lsp.server import serve
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        message = "the language server needs the package `pygls`, which is not installed"
        raise error("AM821", message, help="install it with amctc: `pip install 'amctc[lsp]'`") from None
    serve()
