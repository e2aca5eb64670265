"""The weights of one layer clustered as the pass quantize-weights does it, with the codes and the errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from amctc.quant.arq import checked_weights, weight_params
from amctc.quant.snq import GridWeights, find_tables
from amctc.quant.snq_settings import SnqSettings
from amctc.quant.snq_tables import nearest_codes, quantize_with_tables

FloatArray = NDArray[np.float64]

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class SnqResult:
    """Weights as codes into tables.

    `values` int8, of the weights' shape, are the tables' entries at `codes` (uint8, 0 to 15, the same shape). `table`
    is int8 `[channels, 16]`, or `[1, 16]` for one table, ascending; an entry that is not needed repeats the last one.
    `scale` is float32 `[channels]` or `[1]`. `errors` float64, as `scale`: the squared error of `scale * values`
    against the float weights, summed over each table's weights.
    """

    values: NDArray[np.int8]
    codes: NDArray[np.uint8]
    table: NDArray[np.int8]
    scale: NDArray[np.float32]
    errors: FloatArray

    @property
    def error(self) -> float:
        """The squared error of the whole layer."""
        return float(self.errors.sum())


def quantize_weights_snq(
    weights: NDArray[np.floating],
    *,
    axis: int | None,
    settings: SnqSettings,
    layer_name: str = "",
    scale: NDArray[np.float32] | None = None,
) -> SnqResult:
    """Cluster weights to 16 values, with one table and scale for each index of `axis`, or one if it is None.

    Each weight takes the table's entry nearest to it. With `init_algo` `optimal` the squared error is the least that 16
    entries of the INT8 grid can have; else the centres are found as real numbers and rounded (half to even). Weights
    of at most 16 distinct values keep the error of the INT8 grid alone. Diagnostics as in `arq.quantize_weights`: AM410
    scale, AM412 NaN or Inf, AM413 no weights.
    """
    source = checked_weights(weights, layer_name)
    if scale is None:
        scale = weight_params(source, axis=axis, layer_name=layer_name).scale.reshape(-1)
    channels_first = source[np.newaxis] if axis is None else np.moveaxis(source, axis, 0)
    rows = channels_first.reshape(len(scale), -1)
    (table,) = find_tables([GridWeights(rows, scale)], settings)
    steps = rows / scale[:, np.newaxis].astype(np.float64)
    codes = nearest_codes(steps, table)
    values = quantize_with_tables(rows, scale, table)
    errors = np.square(steps - values).sum(axis=1) * scale.astype(np.float64) ** 2
    shape = channels_first.shape
    return SnqResult(
        np.ascontiguousarray(_back(values.reshape(shape), axis)),
        np.ascontiguousarray(_back(codes.reshape(shape), axis)),
        table,
        scale,
        errors,
    )


def _back(rows: NDArray[_Number], axis: int | None) -> NDArray[_Number]:
    return rows[0] if axis is None else np.moveaxis(rows, 0, axis)
