"""Caffe files to graphs."""

from amctc.frontends.caffe.load import load_caffe
from amctc.frontends.caffe.net_state import NetState

__all__ = ["NetState", "load_caffe"]
