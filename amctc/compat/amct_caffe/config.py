"""Quantization configs, and the one tool for model files: create_quant_config, uninplace_model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from amctc.compat import arguments
from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.log import log
from amctc.compat.amct_caffe.output import save
from amctc.compat.config_policy import ACTIVATION_OFFSET, BATCH_NUM, config_policy
from amctc.diagnostics import Collector
from amctc.driver import uninplace_model as write_uninplaced
from amctc.driver.quantize import float_model
from amctc.policy import resolve, to_json
from amctc.policy.flavours import CAFFE

P = ParamSpec("P")

_FILES = 3
_OLDER = (
    "config_file",
    "model_file",
    "weights_file",
    "skip_layers",
    "batch_num",
    "activation_offset",
    "config_defination",
)
"""Older versions have the skipped layers right behind the three files."""


def in_older_order(function: Callable[P, None]) -> Callable[P, None]:
    """Let calls be in the order of older versions too: a list, or None, where `batch_num` is now is `skip_layers`."""
    loose: Callable[..., None] = function

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        given: tuple[object, ...] = args
        if _FILES < len(given) <= len(_OLDER) and (given[_FILES] is None or isinstance(given[_FILES], list | tuple)):
            loose(**dict(zip(_OLDER, given, strict=False)), **kwargs)
        else:
            function(*args, **kwargs)

    return call


@told_as_amct
@in_older_order
def create_quant_config(
    config_file: str,
    model_file: str,
    weights_file: str,
    batch_num: int = BATCH_NUM,
    activation_offset: bool = ACTIVATION_OFFSET,
    config_defination: str | None = None,
    skip_layers: Sequence[str] | None = None,
) -> None:
    """Write the JSON config of every layer that can be quantized.

    With `config_defination`, a .cfg file, the other settings come from that file and the arguments have no effect.
    `skip_layers` is an argument of older versions, in front of `batch_num`; calls in that order are understood.
    """
    config = arguments.path("config_file", config_file)
    model = arguments.path("model_file", model_file)
    weights = arguments.path("weights_file", weights_file)
    batches = arguments.positive("batch_num", batch_num)
    offset = arguments.flag("activation_offset", activation_offset)
    defined = arguments.optional_path("config_defination", config_defination)
    skipped = arguments.names("skip_layers", skip_layers)
    policy = config_policy(log, defined, skipped, batches, offset, CAFFE)
    collector = Collector()
    resolved = resolve(policy, float_model(model, weights, collector, {}))
    collector.extend(resolved.warnings)
    log.tell("create_quant_config", collector.warnings)
    save({Path(config): to_json(resolved).encode()})
    enabled = sum(layer.quant_enable.value for layer in resolved.layers.values())
    log.info("create_quant_config", f"the config of {enabled} layers to quantize is saved in {config}")


@told_as_amct
def uninplace_model(model_file: str, uninplaced_model_file: str) -> None:
    """Write a net in which every layer has a top of its own; of the layers, those of phase TEST are kept."""
    model = arguments.path("model_file", model_file)
    output = arguments.path("uninplaced_model_file", uninplaced_model_file)
    log.tell("uninplace_model", write_uninplaced(model, output))
    log.info("uninplace_model", f"the model without in-place layers is saved in {output}")
