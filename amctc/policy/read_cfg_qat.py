"""A .cfg of quantization-aware training, of either flavour, to a `Policy`."""

from __future__ import annotations

from amctc.policy.flavours import Flavour
from amctc.policy.read_cfg_fields import chosen, inner, place, said, strings
from amctc.policy.rules import Policy
from amctc.policy.rules_qat import (
    PruneRule,
    TrainingConfig,
    TrainingDataRule,
    TrainingOverride,
    TrainingRule,
    TrainingWeightRule,
)
from amctc.policy.said import Said
from amctc.policy.settings import (
    ARQ_RETRAIN,
    FILTER_PRUNE,
    FILTER_PRUNE_ALGORITHM,
    SELECTIVE_PRUNE,
    SELECTIVE_PRUNE_ALGORITHM,
    ULQ,
    ULQ_RETRAIN,
)
from amctc.text.checked import CheckedMessage


def read_qat(root: CheckedMessage, flavour: Flavour) -> Policy:
    """The policy of a message that has been checked against the schema of the flavour."""
    return Policy(
        batch_num=said(root, "batch_num", int),
        fakequant_precision_mode=said(root, "fakequant_precision_mode", str),
        training=TrainingRule(
            common=_config(root),
            skip_layers=strings(root, "skip_layers"),
            skip_layer_types=strings(root, "skip_layer_types"),
            quant_skip_layers=strings(root, "quant_skip_layers"),
            quant_skip_types=strings(root, "quant_skip_types"),
            regular_prune_skip_layers=strings(root, "regular_prune_skip_layers"),
            regular_prune_skip_types=strings(root, "regular_prune_skip_types"),
            override_layer_types=_overrides(root, "override_layer_types", "layer_type"),
            override_layer_configs=_overrides(root, "override_layer_configs", "layer_name"),
        ),
    )


def _config(message: CheckedMessage) -> TrainingConfig:
    return TrainingConfig(_data(message), _weights(message), _prune(message))


def _data(message: CheckedMessage) -> TrainingDataRule | None:
    config = inner(message, "retrain_data_quant_config")
    ulq = inner(config, ULQ) if config is not None else None
    if config is None or ulq is None:
        return None
    clip = inner(ulq, "clip_max_min")
    span = place(config, ULQ)
    return TrainingDataRule(
        Said(ULQ, span),
        said(clip, "clip_max", float) if clip is not None else None,
        said(clip, "clip_min", float) if clip is not None else None,
        said(ulq, "fixed_min", bool),
        said(ulq, "num_bits", int),
        said(ulq, "dst_type", str),
        span,
    )


def _weights(message: CheckedMessage) -> TrainingWeightRule | None:
    config = inner(message, "retrain_weight_quant_config")
    choice = chosen(config, ARQ_RETRAIN, ULQ_RETRAIN) if config is not None else None
    if config is None or choice is None:
        return None
    name, algorithm = choice
    span = place(config, name)
    return TrainingWeightRule(
        Said(name, span),
        said(algorithm, "channel_wise", bool),
        said(algorithm, "num_bits", int),
        said(algorithm, "dst_type", str),
        span,
    )


def _prune(message: CheckedMessage) -> PruneRule | None:
    config = inner(message, "prune_config")
    choice = chosen(config, "filter_pruner", "n_out_of_m_pruner") if config is not None else None
    if config is None or choice is None:
        return None
    name, pruner = choice
    span = place(config, name)
    if name == "filter_pruner":
        filters = inner(pruner, FILTER_PRUNE_ALGORITHM)
        return PruneRule(
            Said(FILTER_PRUNE, span),
            Said(FILTER_PRUNE_ALGORITHM, place(pruner, FILTER_PRUNE_ALGORITHM)) if filters is not None else None,
            prune_ratio=said(filters, "prune_ratio", float) if filters is not None else None,
            ascend_optimized=said(filters, "ascend_optimized", bool) if filters is not None else None,
            span=span,
        )
    selective = inner(pruner, SELECTIVE_PRUNE_ALGORITHM)
    return PruneRule(
        Said(SELECTIVE_PRUNE, span),
        Said(SELECTIVE_PRUNE_ALGORITHM, place(pruner, SELECTIVE_PRUNE_ALGORITHM)) if selective is not None else None,
        n_out_of_m_type=said(selective, "n_out_of_m_type", str) if selective is not None else None,
        update_freq=said(selective, "update_freq", int) if selective is not None else None,
        span=span,
    )


def _overrides(root: CheckedMessage, name: str, key: str) -> tuple[TrainingOverride, ...]:
    subjects = ((said(message, key, str), message) for message in root.messages(name))
    return tuple(TrainingOverride(subject, _config(message)) for subject, message in subjects if subject is not None)
