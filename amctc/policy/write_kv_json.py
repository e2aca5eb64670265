"""The JSON layer config of KV-cache quantization: what `create_quant_cali_config` of the original writes."""

from __future__ import annotations

import json

from amctc.policy.resolve_kv import KV_DATA, SEARCH_RANGE, kv_params
from amctc.policy.resolved import KvLayerConfig, ResolvedPolicy


def kv_json(resolved: ResolvedPolicy) -> str:
    """The text, with an entry for every layer whose output is quantized, in the model's order; keys as in AMCT."""
    root: dict[str, object] = {"batch_num": resolved.batch_num, "activation_offset": resolved.activation_offset}
    for name, config in resolved.kv_cache.items():
        root[name] = {KV_DATA: _params(config)}
    return json.dumps(root, indent=4, separators=(",", ":")) + "\n"


def _params(config: KvLayerConfig) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, resolved in kv_params(config).items():
        if key not in SEARCH_RANGE:
            found[key] = resolved.value
        else:
            found["search_range"] = [config.output.search_range_start.value, config.output.search_range_end.value]
    return found
