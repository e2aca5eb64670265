"""Ops over one or more axes: Reduction, ArgMax, Sort, TopK and others."""

from __future__ import annotations

from amctc.dialects.op import OpDef

REDUCTION_OPS: tuple[OpDef, ...] = ()
