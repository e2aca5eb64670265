"""KV-cache calibration: create_quant_cali_config, create_quant_cali_model, QuantCalibrationOp."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.calibration_op import op_settings
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.diagnostics import Collector, did_you_mean, error
from amctc.modules.kv_cache import OutputCalibration, RecordWriter, kv_calibrated, kv_module_candidates
from amctc.output import write_files
from amctc.policy import Policy, ResolvedPolicy, Said, to_json
from amctc.policy.checks import check_repeats
from amctc.policy.flavours import KV_CACHE
from amctc.policy.resolve_kv import resolve_kv
from amctc.policy.rules_kv import KvCacheRule
from amctc.records.kv_cache import KvCacheRecord
from amctc.records.read_record import read_record

KEY: Final = "kv_cache_quant_layers"
"""The only key that `quant_layers` has."""

METHOD: Final = "kv_cache_quant"

_LAYERS_HELP: Final = f'write `{{"{KEY}": ["k_proj", "v_proj"]}}`, with the names of the Linear layers of the model'


@told_as_amct
def create_quant_cali_config(
    config_file: str,
    model: nn.Module,
    quant_layers: Mapping[str, list[str]] | None = None,
    config_defination: str | None = None,
) -> None:
    """Write the JSON config of the layers whose outputs are keys and values.

    Which they are says `quant_layers`, under the key `kv_cache_quant_layers`, or `config_defination`, a .cfg file: the
    other argument has no effect then.
    """
    config = arguments.path("config_file", config_file)
    defined = arguments.optional_path("config_defination", config_defination)
    if defined is not None:
        if quant_layers is not None:
            text = f"the layers come from `{defined}`; quant_layers has no effect"
            log.warning("create_quant_cali_config", text)
        policy = Policy.from_file(defined, KV_CACHE.name)
    else:
        policy = _policy(quant_layers)
    resolved = _resolved("create_quant_cali_config", policy, model)
    write_files({Path(config): to_json(resolved).rstrip("\n").encode()})
    count = len(resolved.kv_cache)
    log.info("create_quant_cali_config", f"the config of {count} outputs to calibrate is saved in {config}")


@told_as_amct
def create_quant_cali_model(config_file: str, record_file: str, model: nn.Module) -> nn.Module:
    """A module that computes what `model` does and writes the factors of the outputs that a config names.

    They are in the record when each of these layers has run `batch_num` times. `model` stays as it is and shares its
    parameters.
    """
    config = arguments.path("config_file", config_file)
    record = arguments.path("record_file", record_file)
    policy = Policy.from_file(config, KV_CACHE.name)
    resolved = _resolved("create_quant_cali_model", policy, model)
    made = kv_calibrated(model, resolved, Path(record), told_as_amct)
    batches = resolved.batch_num
    text = f"run the model {batches} times: the factors of {len(resolved.kv_cache)} outputs go to {record}"
    log.info("create_quant_cali_model", text)
    return made


class QuantCalibrationOp(nn.Module):
    """Calibrates what it is called with and hands it on: `x = op("layer1", x)`, where there is no Linear layer to name.

    `quant_algo_params` are `act_algo`, `num_bits` (8), `with_offset` or `asymmetric`, `batch_num`, `quant_granularity`
    and the parameters of the algorithm, as in a JSON config. With the `batch_num`-th call under a name the factors are
    put into the record under that name; entries of other layers stay.
    """

    @told_as_amct
    def __init__(
        self, record_file: str, quant_algo_params: Mapping[str, object] | None = None, quant_method: str = METHOD
    ) -> None:
        super().__init__()
        self.record_file = arguments.path("record_file", record_file)
        arguments.word("quant_method", quant_method, (METHOD,))
        self._how = op_settings(quant_algo_params)
        self._calibrations: dict[str, OutputCalibration] = {}

    @told_as_amct
    def forward(self, layer_name: str, inputs: torch.Tensor) -> torch.Tensor:
        """`inputs` as they are."""
        if not isinstance(layer_name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            given = type(layer_name).__name__
            raise error("AM630", f"`layer_name` is of type `{given}`, but must be a string", help="`op(name, x)`")
        if layer_name not in self._calibrations:
            self._calibrations[layer_name] = OutputCalibration(self._how, self._write)
        self._calibrations[layer_name].see(layer_name, inputs)
        return inputs

    def _write(self, layer: str, factors: KvCacheRecord) -> None:
        path = Path(self.record_file)
        there = path.exists() and any(each.name == layer and each.kv_cache for each in read_record(path).layers)
        if there:
            log.warning("QuantCalibrationOp", f"the scale and offset of layer {layer} in {path} are written over")
        RecordWriter(path).write(layer, factors)


def _policy(quant_layers: object) -> Policy:
    """The policy that `quant_layers` stand for. Raises `DiagnosticError`: AM630 for another type, AM289, AM211."""
    if not isinstance(quant_layers, Mapping):
        given = "None" if quant_layers is None else f"of type `{type(quant_layers).__name__}`"
        message = f"`quant_layers` is {given}, and there is no `config_defination` either, so that no layer is named"
        if quant_layers is not None:
            message = f"`quant_layers` is {given}, but must be a dict"
        raise error("AM630", message, help=_LAYERS_HELP)
    for key in quant_layers:
        if key != KEY:
            near = did_you_mean(str(key), (KEY,))
            message = f"`quant_layers` has the key `{str(key)[:40]}`, which there is not"
            raise error("AM289", message, help=near or _LAYERS_HELP)
    names = arguments.names(f'quant_layers["{KEY}"]', quant_layers.get(KEY))
    if not names:
        raise error("AM289", "`quant_layers` names no layer", help=_LAYERS_HELP)
    said = tuple(Said(name) for name in names)
    collector = Collector()
    check_repeats(said, "`quant_layers`", collector)
    collector.raise_errors()
    return Policy(kv_cache=KvCacheRule(quant_layers=said), flavour=KV_CACHE)


def _resolved(part: str, policy: Policy, model: object) -> ResolvedPolicy:
    """What the layers of a module get. Raises `DiagnosticError`: AM630 for what is no module, AM220, AM285."""
    if not isinstance(model, nn.Module):
        raise error("AM630", f"`model` is of type `{type(model).__name__}`, but must be a torch.nn.Module")
    resolved = resolve_kv(policy, kv_module_candidates(model))
    log.tell(part, resolved.warnings)
    return resolved
