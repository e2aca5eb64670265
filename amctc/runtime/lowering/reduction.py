"""Ops over one or more axes, and normalization."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.runtime.lowering.builder import Rule

REDUCTION_RULES: Mapping[str, Rule] = MappingProxyType({})
