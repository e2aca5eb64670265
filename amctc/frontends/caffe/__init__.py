"""Caffe files to graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand

if TYPE_CHECKING:
    from amctc.frontends.caffe.load import load_caffe
    from amctc.frontends.caffe.net_state import NetState

__all__ = ["NetState", "load_caffe"]

# The command line makes a `NetState` whatever the format of the model is.
__getattr__ = on_demand(
    __name__, {"NetState": "amctc.frontends.caffe.net_state", "load_caffe": "amctc.frontends.caffe.load"}
)
