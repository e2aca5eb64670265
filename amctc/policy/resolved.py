"""What every layer of one graph gets, and which rule gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from amctc.diagnostics import Diagnostic
from amctc.dialects.table import op_def
from amctc.ir import InputQuant, Node, NodeQuant, WeightQuant
from amctc.policy.layer_types import usual_channel_wise
from amctc.policy.rules import PassRule, Policy
from amctc.policy.settings import (
    ADA,
    ADA_DEFAULTS,
    ARQ_BITS,
    BN_UPDATE,
    SNQ,
    SNQ_DEFAULTS,
    ArqSettings,
    BnUpdate,
    SnqSettings,
)
from amctc.quant.activation import ActivationSettings
from amctc.quant.adaround import AdaRoundSettings
from amctc.quant.half_precision import USUAL_PRECISION
from amctc.quant.hfmg import BIN_COUNT, HFMG, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.source import Span
from amctc.text.bulk import value_type

T = TypeVar("T")


@value_type
class Rule:
    """Where a value comes from.

    `kind` is the part of the policy that says it (`common_config`, `override_layer_types`,
    `skip_layers`, `json`, …), `built-in default of TYPE`, or `limit of TYPE` where the op allows
    nothing else. `span` is None for what no file says.
    """

    kind: str
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str | None:
        """`file:line`, or None."""
        return f"{self.span.source.name}:{self.span.line}" if self.span is not None else None

    @property
    def words(self) -> str:
        """The kind and the place in a sentence."""
        return _words(self.kind, self.place)

    def __str__(self) -> str:
        return f"{self.kind} ({self.place})" if self.span is not None else self.kind


@value_type
class Resolved(Generic[T]):
    """A value and the rule that gave it. Two are equal when their values are."""

    value: T
    rule: Rule = field(compare=False)


def _value_or(said: Resolved[T] | None, default: T) -> T:
    return default if said is None else said.value


@value_type
class Lost:
    """A rule that is about a layer, and the stronger rule because of which it does not hold there."""

    rule: Rule
    winner: Rule

    @property
    def places(self) -> tuple[str | None, str | None]:
        """Where the two rules are: `file:line`, or `file:line:column` where that is the same for both."""
        rule, winner = self.rule, self.winner
        if rule.span is not None and winner.span is not None and rule.place == winner.place:
            return str(rule.span), str(winner.span)
        return rule.place, winner.place

    def __str__(self) -> str:
        rule, winner = self.places
        return f"{_words(self.rule.kind, rule)} lost to {_words(self.winner.kind, winner)}"


@value_type
class GaveWay:
    """A width in bits of `what` (`data`, `weights`) that a rule asks for, and that the layer type's limit changes."""

    what: str
    asked: Resolved[int]
    given: Resolved[int]

    def __str__(self) -> str:
        asked, given = self.asked, self.given
        return f"{self.what} of {asked.value} bits ({asked.rule.words}) became {given.value} ({given.rule.words})"


def _words(kind: str, place: str | None) -> str:
    return f"{kind} {place}" if place is not None else kind


@value_type
class InputConfig:
    """How one data input of a layer is calibrated; `index` is the number of the op's input.

    `num_of_bins` is for the algorithm `hfmg` and None for any other; the percentiles and the search
    are for `ifmr`.
    """

    index: int
    num_bits: Resolved[int]
    with_offset: Resolved[bool]
    max_percentile: Resolved[float]
    min_percentile: Resolved[float]
    search_range_start: Resolved[float]
    search_range_end: Resolved[float]
    search_step: Resolved[float]
    algorithm: Resolved[str]
    num_of_bins: Resolved[int] | None = None

    @property
    def settings(self) -> ActivationSettings:
        if self.algorithm.value == HFMG:
            bins = self.num_of_bins.value if self.num_of_bins is not None else BIN_COUNT
            return HfmgSettings(self.num_bits.value, self.with_offset.value, bins)
        return IfmrSettings(
            bits=self.num_bits.value,
            with_offset=self.with_offset.value,
            max_percentile=self.max_percentile.value,
            min_percentile=self.min_percentile.value,
            search_range=(self.search_range_start.value, self.search_range_end.value),
            search_step=self.search_step.value,
        )


@dataclass(frozen=True)
class TensorConfig:
    """An input that is quantized on its own, whatever its layer is."""

    input: InputConfig
    rule: Rule = field(compare=False)


@value_type
class WeightConfig:
    """How the weights of a layer are quantized.

    The last of the fields are None but for the algorithms that have them: three are of
    `snq_quantize`, five of `ada_quantize`; `asymmetric` is there where something is said of it.
    """

    algorithm: Resolved[str]
    channel_wise: Resolved[bool]
    num_bits: Resolved[int]
    max_iteration: Resolved[int] | None = None
    min_distance: Resolved[float] | None = None
    init_algo: Resolved[str] | None = None
    num_iteration: Resolved[int] | None = None
    reg_param: Resolved[float] | None = None
    beta_range_start: Resolved[float] | None = None
    beta_range_end: Resolved[float] | None = None
    warm_start: Resolved[float] | None = None
    asymmetric: Resolved[bool] | None = None

    @property
    def is_clustered(self) -> bool:
        return self.algorithm.value == SNQ

    @property
    def settings(self) -> ArqSettings | SnqSettings:
        if not self.is_clustered:
            return ArqSettings(self.channel_wise.value, self.num_bits.value)
        iterations, distance, init = self.max_iteration, self.min_distance, self.init_algo
        return SnqSettings(
            self.channel_wise.value,
            self.num_bits.value,
            iterations.value if iterations is not None else SNQ_DEFAULTS.max_iteration,
            distance.value if distance is not None else SNQ_DEFAULTS.min_distance,
            init.value if init is not None else SNQ_DEFAULTS.init_algo,
        )

    @property
    def rounding(self) -> AdaRoundSettings | None:
        """How it is learned which way the weights are rounded; None where it is not."""
        if self.algorithm.value != ADA:
            return None
        start, end = ADA_DEFAULTS.beta_range
        return AdaRoundSettings(
            _value_or(self.num_iteration, ADA_DEFAULTS.num_iteration),
            _value_or(self.reg_param, ADA_DEFAULTS.reg_param),
            (_value_or(self.beta_range_start, start), _value_or(self.beta_range_end, end)),
            _value_or(self.warm_start, ADA_DEFAULTS.warm_start),
        )


@dataclass(frozen=True)
class LayerConfig:
    """What one layer gets. `type` is the layer type, `rule` the config that applies to it as a whole.

    `lost` are the rules that are about this layer and do not hold for it, `gave_way` the widths that the one that
    holds asks for and the type cannot have. `migration_strength` (of `dmq_balancer`: a number, or `auto` where one is
    chosen by measurement) and `weight_compress_only` are None where nothing is said of them. `idle_weights` is what is
    said of weights for a type that has none, but for which AMCT writes it all the same (AvgPool2d); nothing follows it.
    """

    name: str
    type: str
    quant_enable: Resolved[bool]
    inputs: tuple[InputConfig, ...]
    weights: WeightConfig | None
    rule: Rule = field(compare=False)
    migration_strength: Resolved[float] | Resolved[str] | None = None
    weight_compress_only: Resolved[bool] | None = None
    lost: tuple[Lost, ...] = field(default=(), compare=False, repr=False)
    gave_way: tuple[GaveWay, ...] = field(default=(), compare=False, repr=False)
    dialect: str = field(default="caffe", compare=False, repr=False)
    idle_weights: WeightConfig | None = field(default=None, compare=False, repr=False)

    @property
    def input_settings(self) -> tuple[ActivationSettings, ...]:
        """One for each data input, in the order of the inputs."""
        return tuple(entry.settings for entry in self.inputs)

    @property
    def weight_settings(self) -> ArqSettings | SnqSettings | None:
        """None for a layer without weights."""
        return self.weights.settings if self.weights is not None else None

    @property
    def quant(self) -> NodeQuant | None:
        """The annotation of the layer's node; None where the layer is not quantized."""
        if not self.quant_enable.value:
            return None
        inputs = tuple(InputQuant(entry.index, entry.settings) for entry in self.inputs)
        weight = None
        if self.weights is not None:
            said, settings = self.weights, self.weights.settings
            clustering = settings.clustering if isinstance(settings, SnqSettings) else None
            weight = WeightQuant(
                said.algorithm.value,
                said.num_bits.value,
                said.channel_wise.value,
                clustering=clustering,
                rounding=said.rounding,
            )
        return NodeQuant(inputs, weight, str(self.rule))


@value_type
class KvLayerConfig:
    """How the output of one layer is quantized where it is kept as keys or values of attention.

    `output` is how it is calibrated; `granularity` is `per_tensor`, or `per_channel` for a scale for each channel of
    its last axis. `rule` is the config that applies as a whole, and `own_offset` tells whether it says, or the common
    config for it, if there is an offset. `lost` are the other rules about the layer.
    """

    name: str
    type: str
    output: InputConfig
    granularity: Resolved[str]
    rule: Rule = field(compare=False)
    own_offset: bool = False
    lost: tuple[Lost, ...] = field(default=(), compare=False, repr=False)

    @property
    def per_channel(self) -> bool:
        return self.granularity.value == "per_channel"


@dataclass(frozen=True)
class BnUpdateConfig:
    """How BatchNorm statistics are renewed; where they are not (`update_bn`), None for what nothing is said of.

    `bn_dump_dir` has no default.
    """

    bn_update_iterations: Resolved[int] | None = None
    bn_moving_average_fraction: Resolved[float] | None = None
    bn_dump_dir: Resolved[str] | None = None


@dataclass(frozen=True)
class GeneralConfig:
    """What holds for the whole model. `update_bn` and the fields after it are None where nothing is said of them.

    `skip_fusion_layers` are names of layers, whatever patterns the policy has.
    """

    batch_num: Resolved[int]
    activation_offset: Resolved[bool]
    do_fusion: Resolved[bool]
    skip_fusion_layers: tuple[Resolved[str], ...]
    update_bn: Resolved[bool] | None
    bn_update_config: BnUpdateConfig | None
    joint_quant: Resolved[bool] | None = None
    weight_offset: Resolved[bool] | None = None
    enable_auto_nuq: Resolved[bool] | None = None
    fakequant_precision_mode: Resolved[str] | None = None


@dataclass(frozen=True)
class ResolvedPolicy:
    """A policy applied to a graph: a config for every layer that can be quantized, by name in graph order.

    `types` are the layer types of all layers of the graph by their names, in graph order. `tensors` are inputs that are
    quantized on their own, by layer: such a layer has no others that are, unless its config says so. `kv_cache` are the
    outputs that a policy of KV-cache quantization names, by layer; such a policy quantizes nothing else.

    Equality is that of the values: two policies that give every layer the same are equal, whatever
    rules they have.
    """

    general: GeneralConfig
    layers: Mapping[str, LayerConfig]
    passes: tuple[PassRule, ...] = ()
    policy: Policy = field(default_factory=Policy, compare=False, repr=False)
    types: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    tensors: Mapping[str, tuple[TensorConfig, ...]] = field(default_factory=dict[str, tuple[TensorConfig, ...]])
    kv_cache: Mapping[str, KvLayerConfig] = field(default_factory=dict[str, KvLayerConfig])

    @property
    def batch_num(self) -> int:
        return self.general.batch_num.value

    @property
    def activation_offset(self) -> bool:
        return self.general.activation_offset.value

    @property
    def do_fusion(self) -> bool:
        return self.general.do_fusion.value

    @property
    def skip_fusion_layers(self) -> frozenset[str]:
        return frozenset(name.value for name in self.general.skip_fusion_layers)

    @property
    def update_bn(self) -> bool:
        return self.general.update_bn is not None and self.general.update_bn.value

    @property
    def bn_update(self) -> BnUpdate | None:
        """How BatchNorm statistics are renewed, or None where they are not."""
        said = self.general.bn_update_config or BnUpdateConfig()
        iterations, fraction, folder = said.bn_update_iterations, said.bn_moving_average_fraction, said.bn_dump_dir
        if not self.update_bn:
            return None
        return BnUpdate(
            iterations.value if iterations is not None else BN_UPDATE.iterations,
            fraction.value if fraction is not None else BN_UPDATE.fraction,
            folder.value if folder is not None else BN_UPDATE.dump_dir,
        )

    @property
    def is_nonuniform(self) -> bool:
        """Whether it takes the pipeline that quantizes weights before BatchNorm is folded into them."""
        return self.update_bn or any(
            config.quant_enable.value and config.weights is not None and config.weights.is_clustered
            for config in self.layers.values()
        )

    @property
    def has_learned_rounding(self) -> bool:
        """Whether there is a layer for which it is learned how its weights are rounded."""
        return any(
            config.quant_enable.value and config.weights is not None and config.weights.rounding is not None
            for config in self.layers.values()
        )

    def quant_of(self, node: Node) -> NodeQuant | None:
        """The annotation for a node, or None where it is not to be quantized.

        A node that a pass made is not in the policy. It takes the data settings of the first layer
        it stands for, and quantizes weights it has by the default of its own type.
        """
        found = self._quant_of(node)
        return replace(found, precision_mode=self.precision_mode) if found is not None else None

    @property
    def precision_mode(self) -> str | None:
        """The mode that scales of data are rounded for; None for the usual one."""
        said = self.general.fakequant_precision_mode
        return said.value if said is not None and said.value != USUAL_PRECISION else None

    @property
    def balances(self) -> bool:
        """Whether some layer that is quantized has the balancer."""
        return any(each.quant_enable.value and each.migration_strength is not None for each in self.layers.values())

    def _quant_of(self, node: Node) -> NodeQuant | None:
        config = self.layers.get(node.name)
        if config is not None:
            return _with_tensors(config.quant, self.tensors.get(node.name, ()))
        for name in node.provenance.absorbed:
            absorbed = self.layers.get(name)
            quant = absorbed.quant if absorbed is not None else None
            if quant is not None:
                return NodeQuant(quant.inputs, _default_weight(node), quant.rule)
        return None


def _with_tensors(quant: NodeQuant | None, tensors: tuple[TensorConfig, ...]) -> NodeQuant | None:
    """The annotation of a layer with those of its inputs that are quantized on their own."""
    if not tensors:
        return quant
    inputs = {each.index: each for each in quant.inputs} if quant is not None else {}
    inputs |= {each.input.index: InputQuant(each.input.index, each.input.settings) for each in tensors}
    rule = quant.rule if quant is not None else str(tensors[0].rule)
    return NodeQuant(tuple(inputs[index] for index in sorted(inputs)), None, rule)


def _default_weight(node: Node) -> WeightQuant | None:
    row = op_def(node)
    if row.quantizable is None or not row.quantizable.weights:
        return None
    settings = ArqSettings(usual_channel_wise(node, row), ARQ_BITS)
    return WeightQuant(settings.algorithm, settings.bits, settings.channel_wise)
