"""What a record says of a layer's output that is kept as keys or values of attention: `kv_cache_value`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from amctc.diagnostics import Collector, Diagnostic
from amctc.quant.grid import FLT_EPSILON, QuantParams, grid_limits
from amctc.quant.ifmr import IfmrResult
from amctc.source import Span
from amctc.text.checked import CheckedMessage

KV_BITS: Final = 8
"""The width of a cache; a record does not say it."""

_LONGEST = 200
_HELP = "write one `scale` and one `offset`, or one of each for every channel of the layer's output"


@dataclass(frozen=True)
class KvCacheRecord:
    """The factors of a layer's output, in 8 bits.

    One `scale`, the float32 that the file says, and one `offset` for the whole output, or one of each for every channel
    of its last axis.
    """

    scale: tuple[float, ...]
    offset: tuple[int, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def params(self) -> QuantParams:
        """The grid that a runtime quantizes with: `params.quantize(x, axis=-1)` and `params.dequantize(q, axis=-1)`."""
        scale, offset = np.array(self.scale, np.float32), np.array(self.offset, np.int32)
        shape = (-1,) if len(self.scale) > 1 else ()
        return QuantParams(scale.reshape(shape), offset.reshape(shape), KV_BITS)

    @staticmethod
    def of(grids: Iterable[IfmrResult]) -> KvCacheRecord:
        """The factors that calibration has chosen, one grid or one for each channel."""
        found = tuple(grids)
        return KvCacheRecord(tuple(float(grid.scale) for grid in found), tuple(grid.offset for grid in found))


def read_kv_cache(layer: str, message: CheckedMessage, collector: Collector) -> KvCacheRecord:
    """The factors of a `kv_cache_value`; reports (AM286) those that are no grids of 8 bits."""
    made = KvCacheRecord(
        tuple(float(np.float32(scale)) for scale in message.values("scale")),
        tuple(int(offset) for offset in message.values("offset")),
        message.span,
    )
    problem = _problem(made)
    if problem is not None:
        field, words = problem
        places = [each.span for each in message.fields if each.name == field]
        text = f"`kv_cache_value` of layer `{layer[:_LONGEST]}` {words}"
        collector.add(Diagnostic("AM286", text, span=places[-1] if places else message.span, help=_HELP))
    return made


def _problem(made: KvCacheRecord) -> tuple[str, str] | None:
    """The field that is wrong, and how."""
    if not made.scale:
        return "scale", "has no `scale`"
    if len(made.offset) != len(made.scale):
        return "offset", f"has {len(made.offset)} `offset` for {len(made.scale)} `scale`"
    low, high = FLT_EPSILON, 1 / FLT_EPSILON
    wrong = next((scale for scale in made.scale if not low < np.float32(scale) < high), None)
    if wrong is not None:
        return "scale", f"has the `scale` {wrong:g}; a scale is a number above {low:g} and below {high:g}"
    least, most = grid_limits(KV_BITS)
    beyond = next((offset for offset in made.offset if not least <= offset <= most), None)
    if beyond is not None:
        return "offset", f"has the `offset` {beyond}; with {KV_BITS} bits it is {least} to {most}"
    return None
