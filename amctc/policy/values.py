"""The values of one layer, from the config that holds for it and from the built-in defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from amctc.policy.checks import allows_snq
from amctc.policy.names import Candidate
from amctc.policy.resolved import BnUpdateConfig, InputConfig, Resolved, Rule, WeightConfig
from amctc.policy.rules import BalancerRule, BnUpdateRule, DataRule, WeightRule
from amctc.policy.said import Said
from amctc.policy.settings import ADA, ARQ, ARQ_BITS, BETA_RANGE, HFMG, IFMR, IFMR_NAME, SNQ, SNQ_DEFAULTS

T = TypeVar("T")

# The defaults of PyTorch's schema.
_BINS: Final = 4096
_ADA_ITERATIONS: Final = 10_000
_ADA_REG_PARAM: Final = 0.01
_ADA_WARM_START: Final = 0.2
_MIGRATION_STRENGTH: Final = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """The config that holds for a layer: its rules, where they come from, and how that is called.

    `override` says that it is one.
    """

    rule: Rule
    inputs: tuple[DataRule, ...] = (DataRule(),)
    weights: WeightRule | None = None
    balancer: BalancerRule | None = None
    weight_compress_only: Said[bool] | None = None
    override: bool = False


def said_value(said: Said[T], kind: str) -> Resolved[T]:
    """What is said, by a rule of this kind."""
    return Resolved(said.value, Rule(kind, said.span))


def value_of(said: Said[T] | None, kind: str, default: T, default_rule: Rule) -> Resolved[T]:
    """What is said, by a rule of this kind, or the default."""
    return Resolved(said.value, Rule(kind, said.span)) if said is not None else Resolved(default, default_rule)


def value_if_said(said: Said[T] | None, kind: str) -> Resolved[T] | None:
    """What is said, by a rule of this kind, or None."""
    return Resolved(said.value, Rule(kind, said.span)) if said is not None else None


def input_configs(
    indices: Sequence[int], choice: Choice, offset: Resolved[bool], common_data: DataRule | None, default: Rule
) -> tuple[InputConfig, ...]:
    """The config of each data input; `offset` is what holds where the layer's own rules say nothing of it."""
    rules = choice.inputs if len(choice.inputs) == len(indices) else choice.inputs[:1] * len(indices)
    return tuple(
        _input(index, rule, choice.rule.kind, offset, common_data, default)
        for index, rule in zip(indices, rules, strict=True)
    )


def _input(
    index: int, rule: DataRule, kind: str, offset: Resolved[bool], common_data: DataRule | None, default: Rule
) -> InputConfig:
    start, end = IFMR.search_range
    algorithm = value_of(rule.algorithm, kind, IFMR_NAME, default)
    if rule.with_offset is not None:
        # The reader puts it into the config of an override where `common_config` alone says it.
        common = common_data is not None and rule.with_offset is common_data.with_offset
        offset = said_value(rule.with_offset, "common_config" if common else kind)
    return InputConfig(
        index,
        value_of(rule.num_bits, kind, IFMR.bits, default),
        offset,
        value_of(rule.max_percentile, kind, IFMR.max_percentile, default),
        value_of(rule.min_percentile, kind, IFMR.min_percentile, default),
        value_of(rule.search_range_start, kind, start, default),
        value_of(rule.search_range_end, kind, end, default),
        value_of(rule.search_step, kind, IFMR.search_step, default),
        algorithm,
        value_of(rule.num_of_bins, kind, _BINS, default) if algorithm.value == HFMG else None,
    )


def weight_config(candidate: Candidate, choice: Choice, default: Rule, limit: Rule) -> WeightConfig:
    """The weight config of a layer with weights; what its type cannot do gives way."""
    rule, kind = choice.weights or WeightRule(), choice.rule.kind
    quantizable = candidate.quantizable
    algorithm = value_of(rule.algorithm, kind, ARQ, default)
    if algorithm.value == SNQ and not allows_snq(candidate.row):
        rule = WeightRule()
        algorithm = Resolved(ARQ, limit)
    wise = value_of(rule.channel_wise, kind, quantizable.channel_wise, default)
    if wise.value and not quantizable.channel_wise:
        wise = Resolved(False, limit)
    asymmetric = value_if_said(rule.asymmetric, kind)
    if algorithm.value == SNQ:
        return WeightConfig(
            algorithm,
            wise,
            value_of(rule.num_bits, kind, SNQ_DEFAULTS.bits, default),
            value_of(rule.max_iteration, kind, SNQ_DEFAULTS.max_iteration, default),
            value_of(rule.min_distance, kind, SNQ_DEFAULTS.min_distance, default),
            value_of(rule.init_algo, kind, SNQ_DEFAULTS.init_algo, default),
            asymmetric=asymmetric,
        )
    bits = value_of(rule.num_bits, kind, ARQ_BITS, default)
    if algorithm.value != ADA:
        return WeightConfig(algorithm, wise, bits, asymmetric=asymmetric)
    start, end = BETA_RANGE
    return WeightConfig(
        algorithm,
        wise,
        bits,
        num_iteration=value_of(rule.num_iteration, kind, _ADA_ITERATIONS, default),
        reg_param=value_of(rule.reg_param, kind, _ADA_REG_PARAM, default),
        beta_range_start=value_of(rule.beta_range_start, kind, start, default),
        beta_range_end=value_of(rule.beta_range_end, kind, end, default),
        warm_start=value_of(rule.warm_start, kind, _ADA_WARM_START, default),
        asymmetric=asymmetric,
    )


def migration_strength(choice: Choice) -> Resolved[float] | None:
    """The strength of the balancer, or None where there is none."""
    balancer, kind = choice.balancer, choice.rule.kind
    if balancer is None:
        return None
    return value_of(balancer.migration_strength, kind, _MIGRATION_STRENGTH, Rule(kind, balancer.span))


def bn_update_config(rule: BnUpdateRule | None) -> BnUpdateConfig | None:
    """What is said of the renewal of BatchNorm statistics."""
    if rule is None:
        return None
    kind = "bn_update_config"
    return BnUpdateConfig(
        value_if_said(rule.bn_update_iterations, kind),
        value_if_said(rule.bn_moving_average_fraction, kind),
        value_if_said(rule.bn_dump_dir, kind),
    )
