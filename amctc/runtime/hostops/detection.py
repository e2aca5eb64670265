"""Boxes: priors, decoding, suppression, pooling of regions."""

from __future__ import annotations

from amctc.runtime.hostops.host_op import HostOp

DETECTION_HOST_OPS: tuple[HostOp, ...] = ()
