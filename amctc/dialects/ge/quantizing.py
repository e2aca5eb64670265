"""Which of GE's ops quantize."""

from __future__ import annotations

from typing import Final

_CALIBRATING: Final = frozenset({"IFMR", "WtsARQ", "ActsULQ"})
"""Ops that AMCT puts in while it calibrates or trains."""


def quantizes(type: str) -> bool:
    """Whether an op of this type quantizes or computes on what is quantized, by its name, as there are many of them."""
    word = type.lower()
    return ("quant" in word and "quantile" not in word) or type in _CALIBRATING
