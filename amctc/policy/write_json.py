"""The full JSON layer config of a graph: what `create_quant_config` of the original writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.policy.availability import refuse_training
from amctc.policy.flavours import CAFFE, GE, PYTORCH, Flavour
from amctc.policy.json_schema import parameter_names
from amctc.policy.resolved import InputConfig, LayerConfig, Resolved, ResolvedPolicy, WeightConfig
from amctc.policy.rules import DataRule, TensorRule
from amctc.policy.said import Said
from amctc.policy.settings import AUTO_STRENGTH, IFMR
from amctc.policy.write_kv_json import kv_json
from amctc.quant.hfmg import HFMG

VERSION = 1

_Value: TypeAlias = (
    Resolved[bool] | Resolved[int] | Resolved[float] | Resolved[str] | Said[int] | Said[float] | Said[str]
)


def to_json(resolved: ResolvedPolicy) -> str:
    """The text, with an entry for every layer that can be quantized, sorted by name (seed 001, create_quant_config).

    Its keys are those of the policy's flavour. Reading it back and resolving it on the same graph gives
    an equal `ResolvedPolicy`. Raises `DiagnosticError` AM229 for a layer that bears the name of a
    parameter, AM290 for a policy of training: no layer follows it.
    """
    refuse_training(resolved.policy)
    flavour = resolved.policy.flavour
    parameters = parameter_names(flavour.json_schema)
    clashes = [name for name in (*resolved.layers, *resolved.kv_cache) if name in parameters]
    if clashes:
        raise DiagnosticError(
            *(
                Diagnostic(
                    "AM229",
                    f"a layer named `{name}` cannot be written to a JSON layer config, where `{name}` is a parameter",
                    help="rename the layer, or use a .cfg policy",
                )
                for name in clashes
            )
        )
    if resolved.policy.kv_cache is not None:
        return kv_json(resolved)
    root = _general(resolved)
    for name in sorted(resolved.layers):
        root[name] = _layer(resolved.layers[name], resolved.activation_offset, flavour)
    tensors = resolved.policy.tensor_quantize
    if tensors:
        root["tensor_quantize"] = [_tensor(tensor) for tensor in tensors]
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def _general(resolved: ResolvedPolicy) -> dict[str, object]:
    general = resolved.general
    root: dict[str, object] = {"version": VERSION}
    if resolved.policy.flavour != GE:
        root["batch_num"] = general.batch_num.value
    root["activation_offset"] = general.activation_offset.value
    root |= _said(
        {
            "joint_quant": general.joint_quant,
            "weight_offset": general.weight_offset,
            "enable_auto_nuq": general.enable_auto_nuq,
        }
    )
    root["do_fusion"] = general.do_fusion.value
    root |= _said({"fakequant_precision_mode": general.fakequant_precision_mode})
    root["skip_fusion_layers"] = [name.value for name in general.skip_fusion_layers]
    root |= _said({"update_bn": general.update_bn})
    bn = resolved.policy.bn_update_config
    if bn is not None:
        # As it was said: a default that is written out would look as if somebody had chosen it.
        root["bn_update_config"] = _said(
            {
                "bn_moving_average_fraction": bn.bn_moving_average_fraction,
                "bn_update_iterations": bn.bn_update_iterations,
                "bn_dump_dir": bn.bn_dump_dir,
            }
        )
    if resolved.passes:
        root["pass"] = [
            {"name": entry.name.value, "option": {key.value: value.value for key, value in entry.options}}
            for entry in resolved.passes
        ]
    return root


def _said(found: Mapping[str, _Value | None]) -> dict[str, object]:
    return {key: entry.value for key, entry in found.items() if entry is not None}


def _layer(config: LayerConfig, activation_offset: bool, flavour: Flavour) -> dict[str, object]:
    inputs = [_input(entry, activation_offset, flavour) for entry in config.inputs]
    layer: dict[str, object] = {"quant_enable": config.quant_enable.value}
    layer |= _balancer(config.migration_strength)
    layer |= _said({"weight_compress_only": config.weight_compress_only})
    layer["activation_quant_params"] = inputs[0] if len(inputs) == 1 else inputs
    weights = config.idle_weights if config.weights is None and flavour == PYTORCH else config.weights
    if weights is not None:
        layer["weight_quant_params"] = _caffe_weights(weights) if flavour == CAFFE else _weights(weights)
    return layer


def _balancer(strength: Resolved[float] | Resolved[str] | None) -> dict[str, object]:
    if strength is None:
        return {}
    auto = strength.value == AUTO_STRENGTH
    return {"dmq_balancer_auto": True} if auto else {"dmq_balancer_param": strength.value}


def _input(entry: InputConfig, activation_offset: bool, flavour: Flavour) -> dict[str, object]:
    params: dict[str, object] = {"num_bits": entry.num_bits.value}
    own_offset = entry.with_offset.value != activation_offset
    if own_offset and flavour == CAFFE:
        params["with_offset"] = entry.with_offset.value
    if entry.algorithm.value != HFMG:
        params["max_percentile"] = entry.max_percentile.value
        params["min_percentile"] = entry.min_percentile.value
        params["search_range"] = [entry.search_range_start.value, entry.search_range_end.value]
        params["search_step"] = entry.search_step.value
    if flavour == CAFFE:
        return params
    params["act_algo"] = entry.algorithm.value
    if own_offset or flavour == PYTORCH:  # as in AMCT, which says it of every layer
        params["asymmetric"] = entry.with_offset.value
    return params | _said({"num_of_bins": entry.num_of_bins})


def _caffe_weights(config: WeightConfig) -> dict[str, object]:
    params: dict[str, object] = {
        "wts_algo": config.algorithm.value,
        "channel_wise": config.channel_wise.value,
        "num_bits": config.num_bits.value,
    }
    return params | _said(
        {
            "max_iteration": config.max_iteration,
            "min_distance": config.min_distance,
            "init_algo": config.init_algo,
        }
    )


def _weights(config: WeightConfig) -> dict[str, object]:
    params: dict[str, object] = {"num_bits": config.num_bits.value}
    params |= _said(
        {
            "reg_param": config.reg_param,
            "warm_start": config.warm_start,
            "num_iteration": config.num_iteration,
        }
    )
    if config.beta_range_start is not None and config.beta_range_end is not None:
        params["beta_range"] = [config.beta_range_start.value, config.beta_range_end.value]
    params["channel_wise"] = config.channel_wise.value
    params |= _said({"asymmetric": config.asymmetric})
    params["wts_algo"] = config.algorithm.value
    return params


def _tensor(tensor: TensorRule) -> dict[str, object]:
    """As it was said: a graph that it could be resolved for does not come with a policy."""
    return {
        "layer_name": tensor.layer_name.value,
        "input_index": tensor.input_index.value,
        "activation_quant_params": _said_data(tensor.data),
    }


def _said_data(rule: DataRule) -> dict[str, object]:
    said = {
        "num_bits": rule.num_bits,
        "max_percentile": rule.max_percentile,
        "min_percentile": rule.min_percentile,
        "search_step": rule.search_step,
        "act_algo": rule.algorithm,
        "asymmetric": rule.with_offset,
        "num_of_bins": rule.num_of_bins,
    }
    params: dict[str, object] = {key: entry.value for key, entry in said.items() if entry is not None}
    start, end = rule.search_range_start, rule.search_range_end
    if start is not None or end is not None:
        usual = IFMR.search_range
        params["search_range"] = [start.value if start else usual[0], end.value if end else usual[1]]
    return params
