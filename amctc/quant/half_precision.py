"""The scales of data in half precision, for hardware that reads them so: `fakequant_precision_mode: FORCE_FP16_QUANT`.

Source: AMCT's `cast_fp16_precision`, and the records that it wrote.
"""

from __future__ import annotations

from typing import Final

import numpy as np

USUAL_PRECISION: Final = "DEFAULT"
HALF_PRECISION: Final = "FORCE_FP16_QUANT"
"""The two precision modes, as policies and records call them."""

_LEAST, _MOST = 2.0**-14, float(np.finfo(np.float16).max)


def scale_in(mode: str | None, scale: float) -> float:
    """A float32 scale as the precision mode has it; None is the usual one, which leaves it as it is.

    In half precision it is rounded to the nearest float16. Where that format has no normal number for it (below 2^-14
    or above 65504), the hardware multiplies by its root twice: the root is rounded, and the scale is its square. The
    result is a float32 number again.
    """
    if mode != HALF_PRECISION:
        return scale
    if _LEAST <= scale <= _MOST:
        return float(np.float16(scale))
    root = np.float32(np.float16(np.sqrt(np.float32(scale))))
    return float(root * root)
