"""How the data of a layer are quantized, as a policy says it."""

from __future__ import annotations

from dataclasses import dataclass

from amctc.policy.said import Said


@dataclass(frozen=True)
class DataRule:
    """Data quantization by `ifmr` or `hfmg`, whichever `algorithm` says; `ifmr` where nothing does.

    `num_bits` and `with_offset` are what holds, in every flavour. Where a file says them as `dst_type`
    and `asymmetric`, these two hold the words of the file. `num_of_bins` is of `hfmg`, the search and
    the percentiles are of `ifmr`, `quant_granularity` is of KV-cache quantization.
    """

    search_range_start: Said[float] | None = None
    search_range_end: Said[float] | None = None
    search_step: Said[float] | None = None
    max_percentile: Said[float] | None = None
    min_percentile: Said[float] | None = None
    num_bits: Said[int] | None = None
    with_offset: Said[bool] | None = None
    algorithm: Said[str] | None = None
    num_of_bins: Said[int] | None = None
    asymmetric: Said[bool] | None = None
    dst_type: Said[str] | None = None
    quant_granularity: Said[str] | None = None
