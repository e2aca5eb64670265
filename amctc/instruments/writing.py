"""Where an instrument writes its text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

Write: TypeAlias = Callable[[str], object]
"""Takes text with its line ends."""


def to_stderr(text: str) -> None:
    """Standard error as it is when the text comes."""
    sys.stderr.write(text)
