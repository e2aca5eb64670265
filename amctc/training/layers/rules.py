"""Which rule runs which op in training."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.retrain import DATA_OP
from amctc.training.layers.affine import AFFINE_RULES
from amctc.training.layers.blocks import BLOCK_RULES
from amctc.training.layers.combine import COMBINE_RULES
from amctc.training.layers.convolution import LINEAR_RULES
from amctc.training.layers.elementwise import ELEMENTWISE_RULES
from amctc.training.layers.layer import Rule
from amctc.training.layers.loss import LOSS_RULES
from amctc.training.layers.movement import MOVEMENT_RULES
from amctc.training.layers.normalize import NORMALIZE_RULES
from amctc.training.layers.pooling import POOLING_RULES
from amctc.training.layers.recurrent import RECURRENT_RULES
from amctc.training.layers.retrain import retrain_data

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **LINEAR_RULES,
        **POOLING_RULES,
        **ELEMENTWISE_RULES,
        **AFFINE_RULES,
        **COMBINE_RULES,
        **MOVEMENT_RULES,
        **NORMALIZE_RULES,
        **BLOCK_RULES,
        **RECURRENT_RULES,
        **LOSS_RULES,
        DATA_OP: retrain_data,
    }
)

NO_GRADIENT = frozenset(
    {"caffe.Accuracy", "caffe.ArgMax", "caffe.Threshold", "caffe.DummyData", "caffe.Silence", "caffe.HDF5Output"}
)
"""Ops of these whose rule gives no gradient: Caffe has none for them either."""
