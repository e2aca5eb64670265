"""The parameters of QuantCalibrationOp, read as a JSON config of KV-cache quantization is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from amctc.diagnostics import error
from amctc.modules.kv_cache import OutputSettings
from amctc.policy import Policy
from amctc.policy.flavours import KV_CACHE
from amctc.policy.resolve_kv import KV_DATA, KvCandidate, resolve_kv
from amctc.records.kv_cache import KV_BITS
from amctc.source import SourceFile

_NAME: Final = "quant_algo_params"
_LAYER: Final = "output"
_BITS: Final = "num_bits"
_GRANULARITY: Final = "quant_granularity"
_WHOLE: Final = {"batch_num": "batch_num", "with_offset": "activation_offset"}
"""What a config says once, under the name that it has there."""


def op_settings(params: object) -> OutputSettings:
    """How an output is calibrated; None stands for the defaults, IFMR with an offset and one grid.

    `quant_granularity` may be the text of its number, as in the manual's example. Raises `DiagnosticError`: AM630 for
    what is no dict, AM631 for other bits than 8, and AM200 to AM214 for what a config may not say either.
    """
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise error("AM630", f"`{_NAME}` is of type `{type(params).__name__}`, but must be a dict")
    own = {str(key): value for key, value in params.items()}
    bits = own.pop(_BITS, KV_BITS)
    if bits != KV_BITS:
        message = f"`{_BITS}` of `{_NAME}` is {bits}, and a cache has {KV_BITS} bits"
        raise error("AM631", message, help=f"give {KV_BITS}")
    if own.get(_GRANULARITY) in ("0", "1"):
        own[_GRANULARITY] = int(str(own[_GRANULARITY]))
    if isinstance(own.get("search_range"), tuple):
        own["search_range"] = list(own["search_range"])
    root: dict[str, object] = {_WHOLE[key]: own.pop(key) for key in _WHOLE if key in own}
    root[_LAYER] = {KV_DATA: own}
    try:
        text = json.dumps(root, allow_nan=False, indent=1)
    except (TypeError, ValueError) as problem:
        raise error("AM631", f"`{_NAME}` is not plain data: {problem}") from None
    policy = Policy.from_text(SourceFile(f"{_NAME}.json", text), KV_CACHE.name)
    resolved = resolve_kv(policy, {_LAYER: KvCandidate("Linear", True)})
    config = resolved.kv_cache[_LAYER]
    return OutputSettings(config.output.settings, config.per_channel, resolved.batch_num)
