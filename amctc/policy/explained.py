"""What each layer gets and why, as rows: the data that `amctc explain` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from amctc.diagnostics import error
from amctc.policy.explained_layers import LayerRow, explain_layers, layer_row_to_json
from amctc.policy.resolve_kv import KV_DATA, kv_params
from amctc.policy.resolved import InputConfig, KvLayerConfig, LayerConfig, Resolved, ResolvedPolicy, WeightConfig
from amctc.policy.said import nearest
from amctc.policy.tensors import TENSOR

EXPLAIN_VERSION = 1

_AnyResolved: TypeAlias = Resolved[bool] | Resolved[int] | Resolved[float] | Resolved[str]
_Fields: TypeAlias = Iterator[tuple[str, _AnyResolved | None]]


@dataclass(frozen=True)
class ExplainRow:
    """One value. `layer` and `type` are None for what holds for the whole model.

    `field` is the path of the value in the JSON layer config. `rule` is the rule's kind and
    `location` its `file:line`, or None for what no file says.
    """

    layer: str | None
    type: str | None
    field: str
    value: bool | int | float | str
    rule: str
    location: str | None

    @property
    def rule_text(self) -> str:
        return f"{self.rule} ({self.location})" if self.location is not None else self.rule


def explain(resolved: ResolvedPolicy, layer: str | None = None) -> list[ExplainRow]:
    """The rows of one layer, or those of the whole model and then of each layer in graph order.

    There are none of a layer whose type is never quantized. Raises `DiagnosticError` AM220 for a layer
    that the model lacks.
    """
    if layer is not None:
        if layer in resolved.kv_cache:
            return list(_output_rows(resolved.kv_cache[layer]))
        config = resolved.layers.get(layer)
        if config is not None:
            return [*_layer_rows(config), *_tensor_rows(resolved, config)]
        if layer in resolved.types:
            return []
        raise error("AM220", f"the model has no layer `{layer[:200]}`", help=nearest(layer, resolved.types))
    rows = list(_general_rows(resolved))
    for config in resolved.layers.values():
        rows.extend(_layer_rows(config))
        rows.extend(_tensor_rows(resolved, config))
    for output in resolved.kv_cache.values():
        rows.extend(_output_rows(output))
    return rows


@dataclass(frozen=True)
class Explanation:
    """Every value with its rule, and every layer in short with the rules that lost."""

    rows: Sequence[ExplainRow]
    layers: Sequence[LayerRow]


def explanation(resolved: ResolvedPolicy, layer: str | None = None) -> Explanation:
    """All that there is to say of a resolved policy, or of one layer. Raises as `explain` does."""
    return Explanation(explain(resolved, layer), explain_layers(resolved, layer))


def explain_to_json(rows: Sequence[ExplainRow], layers: Sequence[LayerRow] | None = None) -> dict[str, object]:
    """The rows as plain data, with the version of their form. A later version may have more keys, never fewer."""
    found: dict[str, object] = {"version": EXPLAIN_VERSION, "rows": [dict(vars(row)) for row in rows]}
    if layers is not None:
        found["layers"] = [layer_row_to_json(row) for row in layers]
    return found


def _general_rows(resolved: ResolvedPolicy) -> Iterator[ExplainRow]:
    for path, found in _general_fields(resolved):
        if found is not None:
            yield _row(None, None, path, found)


def _general_fields(resolved: ResolvedPolicy) -> _Fields:
    general = resolved.general
    yield "batch_num", general.batch_num
    yield "activation_offset", general.activation_offset
    if resolved.policy.kv_cache is not None:
        return
    yield "do_fusion", general.do_fusion
    for index, name in enumerate(general.skip_fusion_layers):
        yield f"skip_fusion_layers[{index}]", name
    yield "update_bn", general.update_bn
    if general.bn_update_config is not None:
        bn = general.bn_update_config
        yield "bn_update_config.bn_moving_average_fraction", bn.bn_moving_average_fraction
        yield "bn_update_config.bn_update_iterations", bn.bn_update_iterations
        yield "bn_update_config.bn_dump_dir", bn.bn_dump_dir
    yield "joint_quant", general.joint_quant
    yield "weight_offset", general.weight_offset
    yield "enable_auto_nuq", general.enable_auto_nuq
    yield "fakequant_precision_mode", general.fakequant_precision_mode


def _output_rows(config: KvLayerConfig) -> Iterator[ExplainRow]:
    for key, found in kv_params(config).items():
        yield _row(config.name, config.type, f"{KV_DATA}.{key}", found)
    if not config.own_offset:
        yield _row(config.name, config.type, f"{KV_DATA}.asymmetric", config.output.with_offset)


def _layer_rows(config: LayerConfig) -> Iterator[ExplainRow]:
    for path, found in _layer_fields(config):
        if found is not None:
            yield _row(config.name, config.type, path, found)


def _tensor_rows(resolved: ResolvedPolicy, config: LayerConfig) -> Iterator[ExplainRow]:
    for each in resolved.tensors.get(config.name, ()):
        for path, found in _input_fields(f"{TENSOR}[{each.input.index}]", each.input):
            if found is not None:
                yield _row(config.name, config.type, path, found)


def _layer_fields(config: LayerConfig) -> _Fields:
    yield "quant_enable", config.quant_enable
    for position, entry in enumerate(config.inputs):
        where = "activation_quant_params" if len(config.inputs) == 1 else f"activation_quant_params[{position}]"
        yield from _input_fields(where, entry)
    if config.weights is not None:
        yield from _weight_fields("weight_quant_params", config.weights)
    yield "dmq_balancer_param", config.migration_strength
    yield "weight_compress_only", config.weight_compress_only


def _input_fields(where: str, entry: InputConfig) -> _Fields:
    yield f"{where}.num_bits", entry.num_bits
    yield f"{where}.with_offset", entry.with_offset
    if entry.num_of_bins is not None:
        yield f"{where}.act_algo", entry.algorithm
        yield f"{where}.num_of_bins", entry.num_of_bins
        return
    yield f"{where}.max_percentile", entry.max_percentile
    yield f"{where}.min_percentile", entry.min_percentile
    yield f"{where}.search_range[0]", entry.search_range_start
    yield f"{where}.search_range[1]", entry.search_range_end
    yield f"{where}.search_step", entry.search_step


def _weight_fields(where: str, config: WeightConfig) -> _Fields:
    yield f"{where}.wts_algo", config.algorithm
    yield f"{where}.channel_wise", config.channel_wise
    yield f"{where}.num_bits", config.num_bits
    yield f"{where}.max_iteration", config.max_iteration
    yield f"{where}.min_distance", config.min_distance
    yield f"{where}.init_algo", config.init_algo
    yield f"{where}.num_iteration", config.num_iteration
    yield f"{where}.reg_param", config.reg_param
    yield f"{where}.beta_range[0]", config.beta_range_start
    yield f"{where}.beta_range[1]", config.beta_range_end
    yield f"{where}.warm_start", config.warm_start
    yield f"{where}.asymmetric", config.asymmetric


def _row(layer: str | None, type: str | None, path: str, found: _AnyResolved) -> ExplainRow:
    return ExplainRow(layer, type, path, found.value, found.rule.kind, found.rule.place)
