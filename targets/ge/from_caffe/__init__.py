"""Caffe's layers as GE's ops, as Ascend's public Caffe parser maps them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.targets.ge.crossing import Rule
from amctc.targets.ge.from_caffe.affine import AFFINE
from amctc.targets.ge.from_caffe.combine import COMBINE
from amctc.targets.ge.from_caffe.data import DATA
from amctc.targets.ge.from_caffe.detection import DETECTION
from amctc.targets.ge.from_caffe.elementwise import ELEMENTWISE
from amctc.targets.ge.from_caffe.linear import LINEAR
from amctc.targets.ge.from_caffe.movement import MOVEMENT
from amctc.targets.ge.from_caffe.names import named
from amctc.targets.ge.from_caffe.normalize import NORMALIZE
from amctc.targets.ge.from_caffe.pooling import POOLING
from amctc.targets.ge.from_caffe.recurrent import RECURRENT
from amctc.targets.ge.from_caffe.reduction import REDUCTION

CAFFE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        op: named(rule)
        for op, rule in {
            **DATA,
            **LINEAR,
            **POOLING,
            **ELEMENTWISE,
            **AFFINE,
            **NORMALIZE,
            **COMBINE,
            **MOVEMENT,
            **REDUCTION,
            **DETECTION,
            **RECURRENT,
        }.items()
    }
)
"""By op."""
