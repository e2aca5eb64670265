"""The full JSON layer config of a graph: what `create_quant_config` of the original writes."""

from __future__ import annotations

import json

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.policy.json_schema import parameter_names
from amctc.policy.resolved import InputConfig, LayerConfig, Resolved, ResolvedPolicy, WeightConfig

VERSION = 1


def to_json(resolved: ResolvedPolicy) -> str:
    """The text, with an entry for every layer that can be quantized, sorted by name (seed 001, create_quant_config).

    Reading it back and resolving it on the same graph gives an equal `ResolvedPolicy`. Raises
    `DiagnosticError` AM229 for a layer that bears the name of a parameter.
    """
    clashes = [name for name in resolved.layers if name in parameter_names()]
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
    root = _general(resolved)
    for name in sorted(resolved.layers):
        root[name] = _layer(resolved.layers[name], resolved.activation_offset)
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def _general(resolved: ResolvedPolicy) -> dict[str, object]:
    general = resolved.general
    root: dict[str, object] = {
        "version": VERSION,
        "batch_num": general.batch_num.value,
        "activation_offset": general.activation_offset.value,
        "do_fusion": general.do_fusion.value,
        "skip_fusion_layers": [name.value for name in general.skip_fusion_layers],
    }
    if general.update_bn is not None:
        root["update_bn"] = general.update_bn.value
    if general.bn_update_config is not None:
        bn = general.bn_update_config
        said: dict[str, Resolved[float] | Resolved[int] | Resolved[str] | None] = {
            "bn_moving_average_fraction": bn.bn_moving_average_fraction,
            "bn_update_iterations": bn.bn_update_iterations,
            "bn_dump_dir": bn.bn_dump_dir,
        }
        root["bn_update_config"] = {key: found.value for key, found in said.items() if found is not None}
    if resolved.passes:
        root["pass"] = [
            {"name": entry.name.value, "option": {key.value: value.value for key, value in entry.options}}
            for entry in resolved.passes
        ]
    return root


def _layer(config: LayerConfig, activation_offset: bool) -> dict[str, object]:
    inputs = [_input(entry, activation_offset) for entry in config.inputs]
    layer: dict[str, object] = {
        "quant_enable": config.quant_enable.value,
        "activation_quant_params": inputs[0] if len(inputs) == 1 else inputs,
    }
    if config.weights is not None:
        layer["weight_quant_params"] = _weights(config.weights)
    return layer


def _input(entry: InputConfig, activation_offset: bool) -> dict[str, object]:
    params: dict[str, object] = {"num_bits": entry.num_bits.value}
    if entry.with_offset.value != activation_offset:
        params["with_offset"] = entry.with_offset.value
    params["max_percentile"] = entry.max_percentile.value
    params["min_percentile"] = entry.min_percentile.value
    params["search_range"] = [entry.search_range_start.value, entry.search_range_end.value]
    params["search_step"] = entry.search_step.value
    return params


def _weights(config: WeightConfig) -> dict[str, object]:
    params: dict[str, object] = {
        "wts_algo": config.algorithm.value,
        "channel_wise": config.channel_wise.value,
        "num_bits": config.num_bits.value,
    }
    for key, found in (
        ("max_iteration", config.max_iteration),
        ("min_distance", config.min_distance),
        ("init_algo", config.init_algo),
    ):
        if found is not None:
            params[key] = found.value
    return params
