"""What a policy file says, before any model is looked at: each field None or empty where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amctc.diagnostics import Diagnostic
from amctc.policy.said import Said
from amctc.source import SourceFile, Span


@dataclass(frozen=True)
class IfmrRule:
    """Data quantization. `with_offset` can be said in a JSON layer config only."""

    search_range_start: Said[float] | None = None
    search_range_end: Said[float] | None = None
    search_step: Said[float] | None = None
    max_percentile: Said[float] | None = None
    min_percentile: Said[float] | None = None
    num_bits: Said[int] | None = None
    with_offset: Said[bool] | None = None


@dataclass(frozen=True)
class WeightRule:
    """Weight quantization by `arq_quantize` or `snq_quantize`; the last three fields are of the latter.

    `span` is the place of the whole rule.
    """

    algorithm: Said[str] | None = None
    channel_wise: Said[bool] | None = None
    num_bits: Said[int] | None = None
    max_iteration: Said[int] | None = None
    min_distance: Said[float] | None = None
    init_algo: Said[str] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class CalibrationRule:
    """The `CalibrationConfig` of a .cfg file; `span` is the place that names it."""

    ifmr: IfmrRule | None = None
    weights: WeightRule | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Override:
    """The config of one layer or of one layer type, by its name."""

    name: Said[str]
    config: CalibrationRule


@dataclass(frozen=True)
class BnUpdateRule:
    """How BatchNorm statistics are to be renewed; the span is that of the whole."""

    bn_update_iterations: Said[int] | None = None
    bn_moving_average_fraction: Said[float] | None = None
    bn_dump_dir: Said[str] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


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
    inputs: tuple[IfmrRule, ...] = (IfmrRule(),)
    shared: bool = True
    weights: WeightRule | None = None
    inputs_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Policy:
    """A policy: what to quantize and how. `Policy()` says nothing, so that every default holds.

    A .cfg file fills the skip lists, `common_config` and the overrides; a JSON layer config fills
    `layers` instead (None for any other policy). `warnings` are what reading it found.
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
    source: SourceFile | None = field(default=None, compare=False, repr=False)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def from_file(cls, path: str | Path) -> Policy:
        """The policy of a .cfg file or a JSON layer config.

        Raises `DiagnosticError`: AM100 to AM130 from reading, AM2xx for every mistake in it.
        """
        from amctc.policy.read import read_policy_file

        return read_policy_file(path)

    @classmethod
    def from_text(cls, source: SourceFile) -> Policy:
        """The policy of a text that has been read; raises as `from_file` does."""
        from amctc.policy.read import read_policy

        return read_policy(source)
