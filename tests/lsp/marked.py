"""Texts with the cursor in them, written `|`."""

from __future__ import annotations


def at_mark(text: str) -> tuple[str, int]:
    """The text without its one `|`, and where that stood."""
    before, mark, after = text.partition("|")
    assert mark and "|" not in after
    return before + after, len(before)
