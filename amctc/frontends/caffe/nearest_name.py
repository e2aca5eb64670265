"""Names that a user may have meant, as long as anybody reads them."""

from __future__ import annotations

from collections.abc import Iterable

from amctc.diagnostics import Collector, did_you_mean

MOST_DIAGNOSTICS = 50
"""After so many, nothing that takes a walk over the whole net is looked for: every line can be a mistake."""


def is_worth_looking(collector: Collector) -> bool:
    """Whether the next diagnostic may still cost time."""
    return len(collector.diagnostics) < MOST_DIAGNOSTICS


def nearest_name(word: str, known: Iterable[str], collector: Collector) -> str | None:
    """`did you mean …?`, or None where nothing is near or too much has been said already."""
    return did_you_mean(word, known) if is_worth_looking(collector) else None
