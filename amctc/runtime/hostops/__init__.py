"""Host ops: what ONNX Runtime cannot do, in numpy."""

from __future__ import annotations

from amctc.runtime.hostops.custom import CUSTOM
from amctc.runtime.hostops.detection import DETECTION_HOST_OPS
from amctc.runtime.hostops.host_op import Arrays, HostOp, Run, for_op
from amctc.runtime.hostops.integer_layer import INTEGER_LAYER
from amctc.runtime.hostops.kin import kin_host_op
from amctc.runtime.hostops.loss import LOSS_HOST_OPS
from amctc.runtime.hostops.masked_pooling import MASKED_POOLING
from amctc.runtime.hostops.movement import MOVEMENT_HOST_OPS
from amctc.runtime.hostops.onnx_recurrent import ONNX_RECURRENT_HOST_OPS
from amctc.runtime.hostops.recurrent import RECURRENT_HOST_OPS

_OWN: tuple[HostOp, ...] = (
    INTEGER_LAYER,
    CUSTOM,
    MASKED_POOLING,
    *MOVEMENT_HOST_OPS,
    *RECURRENT_HOST_OPS,
    *ONNX_RECURRENT_HOST_OPS,
    *DETECTION_HOST_OPS,
    *LOSS_HOST_OPS,
)
HOST_OPS: tuple[HostOp, ...] = (kin_host_op(_OWN), *_OWN)
"""The built-in host ops; the first that applies to a node takes it over."""

__all__ = ["HOST_OPS", "Arrays", "HostOp", "Run", "for_op"]
