"""The result of observers that choose a range: the grid that just holds it."""

from __future__ import annotations

import numpy as np

from amctc.quant.grid import check_scale, grid_limits, scale_offset_from_range
from amctc.quant.ifmr import IfmrResult, IfmrSettings


def grid_of_range(
    settings: IfmrSettings,
    chosen: tuple[float, float],
    seen: tuple[float, float],
    layer_name: str,
    *,
    index: int = 0,
    loss: float = 0.0,
    exact: bool,
) -> IfmrResult:
    """The min-max grid of the `chosen` range, widened to include 0, where all values span `seen`.

    `loss` is 0 where none is measured. A scale outside its legal range is an error (AM410) that names the layer.
    """
    low, high = min(chosen[0], 0.0), max(chosen[1], 0.0)
    params = scale_offset_from_range(low, high, settings.bits, settings.with_offset)
    check_scale(params.scale, layer_name, seen)
    scale, offset = np.float32(params.scale), int(params.offset)
    low_q, high_q = grid_limits(settings.bits)
    return IfmrResult(
        scale=scale,
        offset=offset,
        bits=settings.bits,
        clip_min=float(scale * np.float32(low_q - offset)),
        clip_max=float(scale * np.float32(high_q - offset)),
        init_min=min(seen[0], 0.0),
        init_max=max(seen[1], 0.0),
        index=index,
        loss=loss,
        exact=exact,
    )
