"""Products of blobs and tables: MatMul, Gemm, Embed, Im2col, SPP, and resampling."""

from __future__ import annotations

from amctc.dialects.op import OpDef

MATRIX_OPS: tuple[OpDef, ...] = ()
