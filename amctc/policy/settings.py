"""What holds where no policy says anything, the names of algorithms, and the settings of those for weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from amctc.quant import snq_settings
from amctc.quant.adaround import AdaRoundSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.snq_codes import CODE_BITS

ARQ: Final = "arq_quantize"
SNQ: Final = "snq_quantize"
ADA: Final = "ada_quantize"
WEIGHT_ALGORITHMS: Final = (ARQ, SNQ)
IFMR_NAME: Final = "ifmr"

AUTO_STRENGTH: Final = "auto"
"""The migration strength of a balancer that chooses one for each layer."""

ULQ: Final = "ulq_quantize"
ARQ_RETRAIN: Final = "arq_retrain"
ULQ_RETRAIN: Final = "ulq_retrain"
FILTER_PRUNE: Final = "filter_prune"
FILTER_PRUNE_ALGORITHM: Final = "balanced_l2_norm_filter_prune"
SELECTIVE_PRUNE: Final = "selective_prune"
SELECTIVE_PRUNE_ALGORITHM: Final = "l1_selective_prune"

BITS_OF_TYPE: Mapping[str, int] = MappingProxyType({"INT4": 4, "INT8": 8, "INT16": 16})
"""By the word that stands for a type in a policy."""

CLUSTERING: Final = snq_settings.SnqSettings()
"""How weights are clustered where a policy does not say it."""

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
    """Non-uniform weights as a policy has them: how many scales and bits, and how the 16 levels are found.

    The fields of the clustering, and its defaults, are those of `amctc.quant.snq_settings.SnqSettings`.
    """

    channel_wise: bool
    bits: int = CODE_BITS
    max_iteration: int = CLUSTERING.max_iteration
    min_distance: float = CLUSTERING.min_distance
    init_algo: str = CLUSTERING.init_algo
    algorithm: Literal["snq_quantize"] = SNQ

    @property
    def clustering(self) -> snq_settings.SnqSettings:
        """What the arithmetic takes of them."""
        return snq_settings.SnqSettings(self.max_iteration, self.min_distance, self.init_algo)


@dataclass(frozen=True)
class BnUpdate:
    """How BatchNorm statistics are renewed; the defaults are what seed 001 recommends for non-uniform weights.

    `iterations` batches run; `fraction` of the running statistics is left at each of them in a layer that does
    not say its own `moving_average_fraction`. `dump_dir` is the folder for the renewed statistics, or None.
    """

    iterations: int = 30
    fraction: float = 0.5
    dump_dir: str | None = None


BATCH_NUM: Final = 1
ACTIVATION_OFFSET: Final = True
DO_FUSION: Final = True
UPDATE_BN: Final = False
IFMR: Final = IfmrSettings()
SNQ_DEFAULTS: Final = SnqSettings(channel_wise=True)
BN_UPDATE: Final = BnUpdate()
ARQ_BITS: Final = 8
ADA_DEFAULTS: Final = AdaRoundSettings()
BETA_RANGE: Final = ADA_DEFAULTS.beta_range
