"""Configs of post-training quantization: create_quant_config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.network import Network
from amctc.compat.config_policy import ACTIVATION_OFFSET, BATCH_NUM, config_policy
from amctc.diagnostics import did_you_mean, error
from amctc.output import write_files
from amctc.policy import to_json
from amctc.policy.flavours import PYTORCH

_MOST_NAMED = 8


@told_as_amct
def create_quant_config(
    config_file: str,
    model: nn.Module,
    input_data: Any,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = BATCH_NUM,
    activation_offset: bool = ACTIVATION_OFFSET,
    config_defination: str | None = None,
) -> None:
    """Write the JSON config of every layer of a module that can be quantized.

    `input_data` is what the module is called with: a tensor, or a tuple. With `config_defination`, a .cfg file, the
    other settings come from that file and the arguments have no effect.
    """
    config = arguments.path("config_file", config_file)
    skipped = arguments.names("skip_layers", skip_layers)
    batches = arguments.positive("batch_num", batch_num)
    offset = arguments.flag("activation_offset", activation_offset)
    defined = arguments.optional_path("config_defination", config_defination)
    policy = config_policy(log, defined, skipped, batches, offset, PYTORCH)
    network = Network.of(model, input_data)
    _require_layers(network, skipped)
    resolved = network.resolve(policy)
    log.tell("create_quant_config", resolved.warnings)
    if network.others:
        text = "layers that stay float, as no module computes them alone or with a weight of its own: "
        log.info("create_quant_config", text + ", ".join(network.others))
    write_files({Path(config): to_json(resolved).rstrip("\n").encode()})
    enabled = sum(layer.quant_enable.value for layer in resolved.layers.values())
    log.info("create_quant_config", f"the config of {enabled} layers to quantize is saved in {config}")


def _require_layers(network: Network, skipped: Sequence[str]) -> None:
    """Raise `DiagnosticError` (AM220) for names that no layer has."""
    for name in skipped:
        if name not in network.exported.graph:
            known = list(network.quantizable)
            listed = ", ".join(f"`{each}`" for each in known[:_MOST_NAMED]) + (
                ", …" if len(known) > _MOST_NAMED else ""
            )
            help = did_you_mean(name, known) or f"layers that can be quantized: {listed}"
            raise error("AM220", f"the model has no layer `{name}`, which `skip_layers` names", help=help)
