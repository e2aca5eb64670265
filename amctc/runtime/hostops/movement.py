"""Host ops that move or select elements: Filter and others whose result's size the data decide."""

from __future__ import annotations

from amctc.runtime.hostops.host_op import HostOp

MOVEMENT_HOST_OPS: tuple[HostOp, ...] = ()
