"""Ops that move, select or repeat elements: Slice, Permute, Crop, Tile, Pad and others."""

from __future__ import annotations

from amctc.dialects.op import OpDef

MOVEMENT_OPS: tuple[OpDef, ...] = ()
