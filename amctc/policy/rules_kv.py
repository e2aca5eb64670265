"""What a policy of KV-cache quantization says: the flavour `kv-cache`."""

from __future__ import annotations

from dataclasses import dataclass, field

from amctc.policy.rules_data import DataRule
from amctc.policy.said import Said
from amctc.source import Span


@dataclass(frozen=True)
class KvOverride:
    """How what one layer puts out is quantized: an override of a .cfg file, or an entry of a JSON layer config."""

    name: Said[str]
    data: DataRule


@dataclass(frozen=True)
class KvCacheRule:
    """All that a KV-cache policy says but for `batch_num` and `activation_offset`.

    `quant_layers` are quantized by `common`, or by an override of their name. `layers` is None for a
    .cfg file. `span` is the place that names the common config.
    """

    quant_layers: tuple[Said[str], ...] = ()
    common: DataRule | None = None
    overrides: tuple[KvOverride, ...] = ()
    layers: tuple[KvOverride, ...] | None = None
    span: Span | None = field(default=None, compare=False, repr=False)
