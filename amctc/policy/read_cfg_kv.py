"""A .cfg of KV-cache quantization to a `Policy`."""

from __future__ import annotations

from dataclasses import replace

from amctc.policy.flavours import Flavour
from amctc.policy.read_cfg_fields import data_rule, inner, place, said, strings
from amctc.policy.rules import DataRule, Policy
from amctc.policy.rules_kv import KvCacheRule, KvOverride
from amctc.text.checked import CheckedMessage


def read_kv(root: CheckedMessage, flavour: Flavour) -> Policy:
    """The policy of a message that has been checked against the schema of the flavour."""
    config = inner(root, "kv_cache_quant_config")
    common = _data(config, "calibration_config") if config is not None else None
    return Policy(
        batch_num=said(root, "batch_num", int),
        activation_offset=said(root, "activation_offset", bool),
        kv_cache=KvCacheRule(
            quant_layers=strings(config, "quant_layers") if config is not None else (),
            common=common,
            overrides=_overrides(root, common),
            span=place(root, "kv_cache_quant_config"),
        ),
    )


def _data(message: CheckedMessage, name: str) -> DataRule | None:
    config = inner(message, name)
    return data_rule(config) if config is not None else None


def _overrides(root: CheckedMessage, common: DataRule | None) -> tuple[KvOverride, ...]:
    found: list[KvOverride] = []
    for message in root.messages("override_layers_configs"):
        name = said(message, "layer_name", str)
        data = _data(message, "kv_data_quant_config") or DataRule()
        if data.with_offset is None and common is not None:
            # `asymmetric`, alone of all, comes from the common config where an override does not say it.
            data = replace(data, with_offset=common.with_offset)
        if name is not None:
            found.append(KvOverride(name, data))
    return tuple(found)
