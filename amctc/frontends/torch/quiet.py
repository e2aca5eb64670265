"""What a library says to the screen, kept away from it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet() -> Generator[None]:
    """Within it there are no warnings, log lines and lines on stderr; torch says much that no user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
