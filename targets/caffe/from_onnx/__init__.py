"""ONNX's ops in Caffe's words: a graph of the onnx dialect as one of the caffe dialect, op by op."""

from __future__ import annotations

from amctc.targets.caffe.from_onnx.crossing import in_caffe
from amctc.targets.caffe.from_onnx.table import RULES

__all__ = ["RULES", "in_caffe"]
