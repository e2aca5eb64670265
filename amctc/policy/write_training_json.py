"""The JSON layer config of quantization-aware training: which layers are trained, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping

from amctc.policy.flavours import PYTORCH_QAT
from amctc.policy.resolve_training import ResolvedTraining, Trainable, TrainedLayer
from amctc.policy.rules import Policy
from amctc.policy.settings import ARQ_RETRAIN, BITS_OF_TYPE, ULQ

_VERSION = 1


def training_json(policy: Policy, resolved: ResolvedTraining, layers: Mapping[str, Trainable]) -> str:
    """The text, with an entry for every layer with weights and every other one that is trained, in graph order.

    It is of the flavour of the policy, whose `batch_num` it has where that is said.
    """
    root: dict[str, object] = {"version": _VERSION}
    if policy.batch_num is not None:
        root["batch_num"] = resolved.batch_num
    by_type = policy.flavour == PYTORCH_QAT
    for name, able in layers.items():
        trained = resolved.layers.get(name)
        if trained is not None or able.quantizable.weights:
            how = trained if trained is not None else resolved.off[name]
            root[name] = {"retrain_enable": trained is not None, **_configs(how, by_type)}
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def _configs(layer: TrainedLayer, by_type: bool) -> dict[str, object]:
    data, weights = layer.data, layer.weights
    said = {"clip_max": data.clip_max, "clip_min": data.clip_min, "fixed_min": data.fixed_min}
    told = {name: value for name, value in said.items() if value is not None}
    configs: dict[str, object] = {"retrain_data_config": {"algo": ULQ, **told, **_width(data.bits, by_type)}}
    if weights is not None:
        wise = {"algo": ARQ_RETRAIN, "channel_wise": weights.channel_wise}
        configs["retrain_weight_config"] = {**wise, **_width(weights.bits, by_type)}
    return configs


def _width(bits: int, by_type: bool) -> dict[str, object]:
    if not by_type:
        return {"num_bits": bits}
    return {"dst_type": next(name for name, wide in BITS_OF_TYPE.items() if wide == bits)}
