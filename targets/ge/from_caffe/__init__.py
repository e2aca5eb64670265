"""Caffe's layers as GE's ops, as Ascend's public Caffe parser maps them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.targets.ge.crossing import Rule
from amctc.targets.ge.from_caffe.data import DATA
from amctc.targets.ge.from_caffe.elementwise import ELEMENTWISE
from amctc.targets.ge.from_caffe.linear import LINEAR
from amctc.targets.ge.from_caffe.pooling import POOLING

CAFFE_RULES: Mapping[str, Rule] = MappingProxyType({**DATA, **LINEAR, **POOLING, **ELEMENTWISE})
"""By op."""
