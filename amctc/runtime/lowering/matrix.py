"""Products of blobs and tables, and resampling."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.runtime.lowering.builder import Rule

MATRIX_RULES: Mapping[str, Rule] = MappingProxyType({})
