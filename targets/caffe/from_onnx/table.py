"""Which rule crosses which ONNX op."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.targets.caffe.from_onnx.builder import Rule
from amctc.targets.caffe.from_onnx.elementwise import ELEMENTWISE
from amctc.targets.caffe.from_onnx.linear import LINEAR
from amctc.targets.caffe.from_onnx.movement import MOVEMENT
from amctc.targets.caffe.from_onnx.pooling import POOLING
from amctc.targets.caffe.from_onnx.resize import RESIZE

RULES: Mapping[str, Rule] = MappingProxyType({**LINEAR, **ELEMENTWISE, **POOLING, **MOVEMENT, **RESIZE})
"""By the type of the op, without its domain: that is the standard one."""
