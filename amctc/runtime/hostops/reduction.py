"""Host ops over an axis: sorting and what ONNX orders otherwise."""

from __future__ import annotations

from amctc.runtime.hostops.host_op import HostOp

REDUCTION_HOST_OPS: tuple[HostOp, ...] = ()
