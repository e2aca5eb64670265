"""What a policy of quantization-aware training says: the flavours `caffe-qat` and `pytorch-qat`."""

from __future__ import annotations

from dataclasses import dataclass, field

from amctc.policy.said import Said
from amctc.source import Span


@dataclass(frozen=True)
class TrainingDataRule:
    """How data are quantized during training. `num_bits` is Caffe's field, `dst_type` PyTorch's; `span` is the rule's.

    The clip range is both of its ends or none.
    """

    algorithm: Said[str] | None = None
    clip_max: Said[float] | None = None
    clip_min: Said[float] | None = None
    fixed_min: Said[bool] | None = None
    num_bits: Said[int] | None = None
    dst_type: Said[str] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class TrainingWeightRule:
    """How weights are quantized during training. `num_bits` is Caffe's field, `dst_type` PyTorch's."""

    algorithm: Said[str] | None = None
    channel_wise: Said[bool] | None = None
    num_bits: Said[int] | None = None
    dst_type: Said[str] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class PruneRule:
    """How weights are pruned; `prune_type` is `filter_prune` or `selective_prune`.

    The first two of the other fields are of the former, the last two of the latter.
    """

    prune_type: Said[str] | None = None
    algorithm: Said[str] | None = None
    prune_ratio: Said[float] | None = None
    ascend_optimized: Said[bool] | None = None
    n_out_of_m_type: Said[str] | None = None
    update_freq: Said[int] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class TrainingConfig:
    """What holds for all layers, or for those that an override names."""

    data: TrainingDataRule | None = None
    weights: TrainingWeightRule | None = None
    prune: PruneRule | None = None


@dataclass(frozen=True)
class TrainingOverride:
    """The config of one layer or of one layer type, by its name."""

    name: Said[str]
    config: TrainingConfig


@dataclass(frozen=True)
class TrainingLayer:
    """A layer's entry in a JSON layer config."""

    name: Said[str]
    retrain_enable: Said[bool] | None = None
    regular_prune_enable: Said[bool] | None = None
    config: TrainingConfig = TrainingConfig()


@dataclass(frozen=True)
class TrainingRule:
    """All that a training policy says but for `batch_num` and `fakequant_precision_mode`.

    `skip_layers` and `skip_layer_types` hold for quantization and for pruning. `layers` is None for a
    .cfg file.
    """

    common: TrainingConfig = TrainingConfig()
    skip_layers: tuple[Said[str], ...] = ()
    skip_layer_types: tuple[Said[str], ...] = ()
    quant_skip_layers: tuple[Said[str], ...] = ()
    quant_skip_types: tuple[Said[str], ...] = ()
    regular_prune_skip_layers: tuple[Said[str], ...] = ()
    regular_prune_skip_types: tuple[Said[str], ...] = ()
    override_layer_types: tuple[TrainingOverride, ...] = ()
    override_layer_configs: tuple[TrainingOverride, ...] = ()
    layers: tuple[TrainingLayer, ...] | None = None
