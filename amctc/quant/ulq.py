"""ULQ: quantization of data by a range that training learns (Universal Learned Quantization)."""

from __future__ import annotations

import math

from amctc.quant.grid import QuantParams, scale_offset_from_range


def ulq_grid(clip_max: float, clip_min: float, *, bits: int, fixed_min: bool) -> QuantParams | None:
    """The grid with an offset that just holds the range `[clip_min, clip_max]`; None where that is no range.

    With `fixed_min` the range begins at 0. An end on the wrong side of 0 counts as 0. None stands for clips that
    were never set (both are 0 then), that are no finite numbers, or whose maximum is not above the minimum. Source:
    AMCT's ULQ and its check of clips; without earlier clips there is nothing to go back to but to quantize nothing.
    """
    low = 0.0 if fixed_min else clip_min
    if not (math.isfinite(clip_max) and math.isfinite(low)) or clip_max <= low:
        return None
    low, high = min(low, 0.0), max(clip_max, 0.0)
    return scale_offset_from_range(low, high, bits, with_offset=True)
