"""Functions of each element beyond the common activations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.runtime.lowering.builder import Rule

UNARY_RULES: Mapping[str, Rule] = MappingProxyType({})
