"""Host ops: what ONNX Runtime cannot do, in numpy."""

from __future__ import annotations

from functools import cache

from amctc.on_demand import imported
from amctc.runtime.hostops.custom import CUSTOM
from amctc.runtime.hostops.host_op import Arrays, HostOp, Run, for_op
from amctc.runtime.hostops.integer_layer import INTEGER_LAYER
from amctc.runtime.hostops.kin import kin_host_op

_OF_DIALECTS = {
    "caffe": "amctc.runtime.hostops.caffe_layers:CAFFE_HOST_OPS",
    "onnx": "amctc.runtime.hostops.onnx_recurrent:ONNX_RECURRENT_HOST_OPS",
}


def _own(dialect: str) -> tuple[HostOp, ...]:
    place = _OF_DIALECTS.get(dialect)
    return (INTEGER_LAYER, CUSTOM, *(() if place is None else imported(place)))


_KIN = kin_host_op(_own)


@cache
def host_ops_of(dialect: str) -> tuple[HostOp, ...]:
    """The built-in host ops for nodes of a dialect; the first that applies to a node takes it over."""
    return (_KIN, *_own(dialect))


__all__ = ["Arrays", "HostOp", "Run", "for_op", "host_ops_of"]
