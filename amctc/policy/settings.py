"""What holds where no policy says anything, the names of algorithms, and the settings of those for weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from amctc.quant.ifmr import IfmrSettings

ARQ: Final = "arq_quantize"
SNQ: Final = "snq_quantize"
ADA: Final = "ada_quantize"
WEIGHT_ALGORITHMS: Final = (ARQ, SNQ)
IFMR_NAME: Final = "ifmr"
HFMG: Final = "hfmg"

ULQ: Final = "ulq_quantize"
ARQ_RETRAIN: Final = "arq_retrain"
ULQ_RETRAIN: Final = "ulq_retrain"
FILTER_PRUNE: Final = "filter_prune"
FILTER_PRUNE_ALGORITHM: Final = "balanced_l2_norm_filter_prune"
SELECTIVE_PRUNE: Final = "selective_prune"
SELECTIVE_PRUNE_ALGORITHM: Final = "l1_selective_prune"

BITS_OF_TYPE: Mapping[str, int] = MappingProxyType({"INT4": 4, "INT8": 8, "INT16": 16})
"""By the word that stands for a type in a policy."""
INIT_ALGORITHMS: Final = ("uniform", "gaussian", "d2sampling")

MOST_SEARCH_STEPS: Final = 10_000
"""A search of more candidates than this is refused: it would look as if the program hung."""


@dataclass(frozen=True)
class ArqSettings:
    """Uniform weights: symmetric min-max, `bits` bits, one scale for each output channel or for all."""

    channel_wise: bool
    bits: int = 8
    algorithm: Literal["arq_quantize"] = ARQ


@dataclass(frozen=True)
class SnqSettings:
    """Non-uniform weights: 16 levels found by clustering (seed 001, table of `SNQuantize`).

    `max_iteration` rounds at most; the search ends when centres move less than `min_distance`.
    """

    channel_wise: bool
    bits: int = 4
    max_iteration: int = 1000
    min_distance: float = 1e-10
    init_algo: str = "uniform"
    algorithm: Literal["snq_quantize"] = SNQ


BATCH_NUM: Final = 1
ACTIVATION_OFFSET: Final = True
DO_FUSION: Final = True
UPDATE_BN: Final = False
IFMR: Final = IfmrSettings()
SNQ_DEFAULTS: Final = SnqSettings(channel_wise=True)
ARQ_BITS: Final = 8
BETA_RANGE: Final = (20.0, 2.0)
