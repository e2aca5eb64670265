"""The command line: arguments in, one driver call, diagnostics and tables out."""

from __future__ import annotations

from amctc.cli.app import app


def main() -> None:
    """Run the command line. Exit status: 0 done, 1 wrong input, 2 wrong usage, 70 a bug of ours."""
    from amctc.diagnostics import DiagnosticError

    try:
        app()
    except DiagnosticError as mistakes:
        from amctc.terminal import show

        show(mistakes.diagnostics)
        raise SystemExit(1) from None
    except Exception as failure:
        from amctc.crash import write_report

        write_report(failure)
        raise SystemExit(70) from None


__all__ = ["app", "main"]
