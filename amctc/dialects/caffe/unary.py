"""Functions of each element beyond the common activations: ELU, Exp, Log, Swish, Cos and others."""

from __future__ import annotations

from amctc.dialects.op import OpDef

UNARY_OPS: tuple[OpDef, ...] = ()
