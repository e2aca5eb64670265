"""Where pycaffe has its messages."""

from __future__ import annotations

from amctc.compat.caffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
