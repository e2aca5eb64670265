"""The values of one layer, from the config that holds for it and from the built-in defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final, TypeVar

from amctc.policy.checks import allows_snq
from amctc.policy.layer_types import NARROW_BITS, can_be_learned, usual_channel_wise
from amctc.policy.names import Candidate
from amctc.policy.resolved import BnUpdateConfig, InputConfig, Resolved, Rule, WeightConfig
from amctc.policy.rules import BalancerRule, BnUpdateRule, DataRule, WeightRule
from amctc.policy.said import Said
from amctc.policy.settings import (
    ADA,
    ADA_DEFAULTS,
    ARQ,
    ARQ_BITS,
    AUTO_STRENGTH,
    BN_UPDATE,
    IFMR,
    IFMR_NAME,
    SNQ,
    SNQ_DEFAULTS,
)
from amctc.quant.balancing import USUAL_STRENGTH
from amctc.quant.hfmg import BIN_COUNT, HFMG
from amctc.text.bulk import value_type

T = TypeVar("T")


_NO_RULE: Final = WeightRule()


@value_type
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


def _or_default(said: Said[T] | None, kind: str, default: Resolved[T]) -> Resolved[T]:
    return Resolved(said.value, Rule(kind, said.span)) if said is not None else default


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
    usual = _data_defaults(default)
    algorithm = _or_default(rule.algorithm, kind, usual.algorithm)
    if rule.with_offset is not None:
        # The reader puts it into the config of an override where `common_config` alone says it.
        common = common_data is not None and rule.with_offset is common_data.with_offset
        offset = said_value(rule.with_offset, "common_config" if common else kind)
    return InputConfig(
        index,
        _or_default(rule.num_bits, kind, usual.num_bits),
        offset,
        _or_default(rule.max_percentile, kind, usual.max_percentile),
        _or_default(rule.min_percentile, kind, usual.min_percentile),
        _or_default(rule.search_range_start, kind, usual.search_range_start),
        _or_default(rule.search_range_end, kind, usual.search_range_end),
        _or_default(rule.search_step, kind, usual.search_step),
        algorithm,
        value_of(rule.num_of_bins, kind, BIN_COUNT, default) if algorithm.value == HFMG else None,
    )


@cache
def _data_defaults(rule: Rule) -> InputConfig:
    """Made once for each type of layers, of which a model may have thousands."""
    start, end = IFMR.search_range
    return InputConfig(
        0,
        Resolved(IFMR.bits, rule),
        Resolved(IFMR.with_offset, rule),
        Resolved(IFMR.max_percentile, rule),
        Resolved(IFMR.min_percentile, rule),
        Resolved(start, rule),
        Resolved(end, rule),
        Resolved(IFMR.search_step, rule),
        Resolved(IFMR_NAME, rule),
    )


@cache
def _arq_defaults(rule: Rule, channel_wise: bool) -> WeightConfig:
    return WeightConfig(Resolved(ARQ, rule), Resolved(channel_wise, rule), Resolved(ARQ_BITS, rule))


def weight_config(candidate: Candidate, choice: Choice, default: Rule, limit: Rule) -> WeightConfig:
    """The weight config of a layer with weights; what its type cannot do gives way."""
    rule, kind = choice.weights or _NO_RULE, choice.rule.kind
    quantizable = candidate.quantizable
    usual = _arq_defaults(default, usual_channel_wise(candidate.node, candidate.row))
    if rule is _NO_RULE:
        return usual
    algorithm = _or_default(rule.algorithm, kind, usual.algorithm)
    unlearned = algorithm.value == ADA and not can_be_learned(candidate.row, candidate.limits)
    if unlearned or (algorithm.value == SNQ and not allows_snq(candidate.row)):
        rule = _NO_RULE
        algorithm = Resolved(ARQ, limit)
    wise = _or_default(rule.channel_wise, kind, usual.channel_wise)
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
    bits = _or_default(rule.num_bits, kind, usual.num_bits)
    if algorithm.value != ADA:
        return WeightConfig(algorithm, wise, bits, asymmetric=asymmetric)
    start, end = ADA_DEFAULTS.beta_range
    return WeightConfig(
        algorithm,
        wise,
        bits,
        num_iteration=value_of(rule.num_iteration, kind, ADA_DEFAULTS.num_iteration, default),
        reg_param=value_of(rule.reg_param, kind, ADA_DEFAULTS.reg_param, default),
        beta_range_start=value_of(rule.beta_range_start, kind, start, default),
        beta_range_end=value_of(rule.beta_range_end, kind, end, default),
        warm_start=value_of(rule.warm_start, kind, ADA_DEFAULTS.warm_start, default),
        asymmetric=asymmetric,
    )


def idle_weights(candidate: Candidate, choice: Choice, default: Rule, limit: Rule) -> WeightConfig | None:
    """What is said of the weights of a type that has none, where AMCT's language has them all the same; None elsewhere.

    Widths that AMCT takes give way as in AMCT: 6 and 7 bits, but not 4. It writes nothing where `ada_quantize` is said.
    """
    limits = candidate.limits
    if candidate.quantizable.weights or limits is None or limits.weights:
        return None
    said = choice.weights.algorithm if choice.weights is not None else None
    if said is not None and said.value == ADA:
        return None
    found = weight_config(candidate, choice, default, limit)
    narrow = found.num_bits.value in NARROW_BITS
    return replace(found, num_bits=Resolved(ARQ_BITS, limit)) if narrow else found


def migration_strength(choice: Choice) -> Resolved[float] | Resolved[str] | None:
    """The strength of the balancer, a number or the word for one that is chosen, or None where there is none."""
    balancer, kind = choice.balancer, choice.rule.kind
    if balancer is None:
        return None
    if balancer.auto_strength is not None and balancer.auto_strength.value:
        return Resolved(AUTO_STRENGTH, Rule(kind, balancer.auto_strength.span))
    return value_of(balancer.migration_strength, kind, USUAL_STRENGTH, Rule(kind, balancer.span))


def bn_update_config(rule: BnUpdateRule | None, update: bool, default: Rule) -> BnUpdateConfig | None:
    """How BatchNorm statistics are renewed; where they are not, what is said of it alone, or None."""
    kind = "bn_update_config"
    if update:
        rule = rule or BnUpdateRule()
        return BnUpdateConfig(
            value_of(rule.bn_update_iterations, kind, BN_UPDATE.iterations, default),
            value_of(rule.bn_moving_average_fraction, kind, BN_UPDATE.fraction, default),
            value_if_said(rule.bn_dump_dir, kind),
        )
    if rule is None:
        return None
    return BnUpdateConfig(
        value_if_said(rule.bn_update_iterations, kind),
        value_if_said(rule.bn_moving_average_fraction, kind),
        value_if_said(rule.bn_dump_dir, kind),
    )
