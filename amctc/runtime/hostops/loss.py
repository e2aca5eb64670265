"""Losses and accuracy: layers that serve training and testing."""

from __future__ import annotations

from amctc.runtime.hostops.host_op import HostOp

LOSS_HOST_OPS: tuple[HostOp, ...] = ()
