"""What a policy file says, before any model is looked at: each field None or empty where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amctc.diagnostics import Diagnostic
from amctc.policy.flavours import CAFFE, Flavour
from amctc.policy.rules_data import DataRule
from amctc.policy.rules_kv import KvCacheRule
from amctc.policy.rules_qat import TrainingRule
from amctc.policy.said import Said
from amctc.source import SourceFile, Span

__all__ = [
    "BalancerRule",
    "BnUpdateRule",
    "CalibrationRule",
    "DataRule",
    "LayerRule",
    "Override",
    "PassRule",
    "Policy",
    "TensorRule",
    "WeightRule",
]


@dataclass(frozen=True)
class WeightRule:
    """Weight quantization by `arq_quantize`, `snq_quantize` or `ada_quantize`.

    `max_iteration`, `min_distance` and `init_algo` are of `snq_quantize`, `num_iteration`, `reg_param`,
    `beta_range_start`, `beta_range_end` and `warm_start` of `ada_quantize`. `asymmetric` is that of
    weights alone (`weight_compress_only`). `span` is the place of the whole rule.
    """

    algorithm: Said[str] | None = None
    channel_wise: Said[bool] | None = None
    num_bits: Said[int] | None = None
    max_iteration: Said[int] | None = None
    min_distance: Said[float] | None = None
    init_algo: Said[str] | None = None
    num_iteration: Said[int] | None = None
    reg_param: Said[float] | None = None
    beta_range_start: Said[float] | None = None
    beta_range_end: Said[float] | None = None
    warm_start: Said[float] | None = None
    asymmetric: Said[bool] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class BalancerRule:
    """The balancer `dmq_balancer` between data and weights; `span` is the place of the whole.

    Where `auto_strength` is true the strength is chosen for each layer.
    """

    migration_strength: Said[float] | None = None
    auto_strength: Said[bool] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class CalibrationRule:
    """The `CalibrationConfig` of a .cfg file; `span` is the place that names it.

    `ifmr` is the data rule, whichever algorithm it names.
    """

    ifmr: DataRule | None = None
    weights: WeightRule | None = None
    balancer: BalancerRule | None = None
    weight_compress_only: Said[bool] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Override:
    """The config of one layer or of one layer type, by its name."""

    name: Said[str]
    config: CalibrationRule


@dataclass(frozen=True)
class BnUpdateRule:
    """How BatchNorm statistics are to be renewed; `span` is the place that names it."""

    bn_update_iterations: Said[int] | None = None
    bn_moving_average_fraction: Said[float] | None = None
    bn_dump_dir: Said[str] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class TensorRule:
    """One input of a layer that is quantized on its own (`tensor_quantize`)."""

    layer_name: Said[str]
    input_index: Said[int]
    data: DataRule = field(default_factory=DataRule)


@dataclass(frozen=True)
class PassRule:
    """A pass to add to the pipeline, and its options as text; no key is there twice."""

    name: Said[str]
    options: tuple[tuple[Said[str], Said[str]], ...] = ()

    @property
    def option_texts(self) -> Mapping[str, tuple[str, Span | None]]:
        """Options by key, in the form that building a pass takes."""
        return {key.value: (value.value, value.span) for key, value in self.options}


@dataclass(frozen=True)
class LayerRule:
    """A layer's entry in a JSON layer config.

    `inputs` are the data inputs in order; `shared` says that they were one object, which stands for
    every data input the layer has. `inputs_span` is the place of their value.
    """

    name: Said[str]
    quant_enable: Said[bool] | None = None
    inputs: tuple[DataRule, ...] = (DataRule(),)
    shared: bool = True
    weights: WeightRule | None = None
    balancer: BalancerRule | None = None
    weight_compress_only: Said[bool] | None = None
    inputs_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Policy:
    """A policy: what to quantize and how. `Policy()` says nothing, so that every default holds.

    A .cfg file fills the skip lists, `common_config` and the overrides; a JSON layer config fills
    `layers` instead (None for any other policy). A policy of quantization-aware training has its rules
    in `training`, one of KV-cache quantization in `kv_cache`; for any other these two are None.
    `warnings` are what reading it found.
    """

    batch_num: Said[int] | None = None
    activation_offset: Said[bool] | None = None
    do_fusion: Said[bool] | None = None
    skip_fusion_layers: tuple[Said[str], ...] = ()
    skip_layers: tuple[Said[str], ...] = ()
    skip_layer_types: tuple[Said[str], ...] = ()
    common_config: CalibrationRule | None = None
    override_layer_types: tuple[Override, ...] = ()
    override_layer_configs: tuple[Override, ...] = ()
    update_bn: Said[bool] | None = None
    bn_update_config: BnUpdateRule | None = None
    passes: tuple[PassRule, ...] = ()
    layers: tuple[LayerRule, ...] | None = None
    version: Said[int] | None = None
    joint_quant: Said[bool] | None = None
    weight_offset: Said[bool] | None = None
    enable_auto_nuq: Said[bool] | None = None
    fakequant_precision_mode: Said[str] | None = None
    tensor_quantize: tuple[TensorRule, ...] = ()
    training: TrainingRule | None = None
    kv_cache: KvCacheRule | None = None
    flavour: Flavour = CAFFE
    source: SourceFile | None = field(default=None, compare=False, repr=False)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def from_file(cls, path: str | Path, flavour: str | None = None, usual: Flavour = CAFFE) -> Policy:
        """The policy of a .cfg file or a JSON layer config, of the stated flavour or of the one its fields are of.

        Where they are of several, it is the usual one.

        Raises `DiagnosticError`: AM100 to AM130 from reading, AM2xx for every mistake in it.
        """
        from amctc.policy.read import read_policy_file

        return read_policy_file(path, flavour, usual)

    @classmethod
    def from_text(cls, source: SourceFile, flavour: str | None = None) -> Policy:
        """The policy of a text that has been read; raises as `from_file` does."""
        from amctc.policy.read import read_policy

        return read_policy(source, flavour)
