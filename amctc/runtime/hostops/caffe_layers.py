"""Layers of Caffe that are host ops."""

from __future__ import annotations

from amctc.runtime.hostops.detection import DETECTION_HOST_OPS
from amctc.runtime.hostops.host_op import HostOp
from amctc.runtime.hostops.loss import LOSS_HOST_OPS
from amctc.runtime.hostops.masked_pooling import MASKED_POOLING
from amctc.runtime.hostops.movement import MOVEMENT_HOST_OPS
from amctc.runtime.hostops.recurrent import RECURRENT_HOST_OPS

CAFFE_HOST_OPS: tuple[HostOp, ...] = (
    MASKED_POOLING,
    *MOVEMENT_HOST_OPS,
    *RECURRENT_HOST_OPS,
    *DETECTION_HOST_OPS,
    *LOSS_HOST_OPS,
)
