"""Ops that move, select or repeat elements."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.runtime.lowering.builder import Rule

MOVEMENT_RULES: Mapping[str, Rule] = MappingProxyType({})
