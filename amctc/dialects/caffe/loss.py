"""Losses and Accuracy: layers that serve training and testing only."""

from __future__ import annotations

from amctc.dialects.op import OpDef

LOSS_OPS: tuple[OpDef, ...] = ()
