"""ONNX's ops as GE's, as Ascend's public ONNX parser maps them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.targets.ge.crossing import Rule
from amctc.targets.ge.from_onnx.data import DATA
from amctc.targets.ge.from_onnx.elementwise import ELEMENTWISE
from amctc.targets.ge.from_onnx.linear import LINEAR
from amctc.targets.ge.from_onnx.movement import MOVEMENT
from amctc.targets.ge.from_onnx.pooling import POOLING
from amctc.targets.ge.from_onnx.resize import RESIZE

ONNX_RULES: Mapping[str, Rule] = MappingProxyType({**DATA, **LINEAR, **POOLING, **ELEMENTWISE, **MOVEMENT, **RESIZE})
"""By op."""
