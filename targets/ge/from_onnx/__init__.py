"""ONNX's ops as GE's, as Ascend's public ONNX parser maps them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.targets.ge.crossing import Rule

ONNX_RULES: Mapping[str, Rule] = MappingProxyType({})
"""By op."""
