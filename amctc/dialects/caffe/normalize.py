"""Normalization over parts of a blob: MVN, Normalize, GroupNorm, LayerNormalization."""

from __future__ import annotations

from amctc.dialects.op import OpDef

NORMALIZE_OPS: tuple[OpDef, ...] = ()
