"""The JSON layer config of quantization-aware training: which layers are trained, and how."""

from __future__ import annotations

import json
from collections.abc import Mapping

from amctc.policy.flavours import PYTORCH_QAT
from amctc.policy.resolve_training import ResolvedTraining, Trainable, TrainedLayer
from amctc.policy.rules import Policy
from amctc.policy.settings import ARQ_RETRAIN, BITS_OF_TYPE, ULQ, ULQ_RETRAIN

_VERSION = 1


def training_json(policy: Policy, resolved: ResolvedTraining, layers: Mapping[str, Trainable]) -> str:
    """The text, with an entry for every layer with weights and every other one that is trained, in graph order.

    It is of the flavour of the policy. Of Caffe's it has `batch_num` where that is said; that of PyTorch must have it.
    """
    by_type = policy.flavour == PYTORCH_QAT
    root: dict[str, object] = {"version": _VERSION}
    if by_type or policy.batch_num is not None:
        root["batch_num"] = resolved.batch_num
    for name, able in layers.items():
        trained = resolved.layers.get(name)
        if trained is not None or able.quantizable.weights:
            how = trained if trained is not None else resolved.off[name]
            root[name] = {"retrain_enable": trained is not None, **_configs(how, by_type)}
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def _configs(layer: TrainedLayer, by_type: bool) -> dict[str, object]:
    data, weights = layer.data, layer.weights
    clips = {"clip_max": data.clip_max, "clip_min": data.clip_min, "fixed_min": data.fixed_min}
    told = {name: value for name, value in clips.items() if value is not None}
    configs: dict[str, object] = {"retrain_data_config": {"algo": ULQ, **told, **_width(data.bits, by_type)}}
    if weights is not None:
        wise, width = {"channel_wise": weights.channel_wise}, _width(weights.bits, by_type)
        # The order of the original, which is another one for a learned scale.
        said = {"algo": ULQ_RETRAIN, **width, **wise} if weights.learned else {"algo": ARQ_RETRAIN, **wise, **width}
        configs["retrain_weight_config"] = said
    return configs


def _width(bits: int, by_type: bool) -> dict[str, object]:
    if not by_type:
        return {"num_bits": bits}
    return {"dst_type": next(name for name, wide in BITS_OF_TYPE.items() if wide == bits)}
