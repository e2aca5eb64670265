"""Detection: PriorBox, DetectionOutput, Proposal, Nms, and pooling of regions."""

from __future__ import annotations

from amctc.dialects.op import OpDef

DETECTION_OPS: tuple[OpDef, ...] = ()
