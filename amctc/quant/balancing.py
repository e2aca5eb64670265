"""Factors that move part of the range of each input channel from the data of a layer into its weights.

Source: AMCT's DMQ balancer; the same balance of powers is that of SmoothQuant (Xiao et al. 2022, arXiv:2211.10438,
section 4). With a[c] and w[c] the largest magnitudes of channel c in the data and in the weights,

    f[c] = a[c]**m / w[c]**(1 - m)

is what the data are divided by and the weights multiplied: the layer computes what it did. At m = 0 the channels of
the weights have equal ranges then, at m = 1 those of the data.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import error
from amctc.quant.grid import FLT_EPSILON, FloatArray

LEAST_STRENGTH: Final = 0.2
MOST_STRENGTH: Final = 0.8
USUAL_STRENGTH: Final = 0.5
STRENGTHS: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""The strengths among which one is chosen by the error that it leaves."""


def balance_factors(data: ArrayLike, weights: ArrayLike, strength: float, layer_name: str = "") -> FloatArray:
    """f as float32 [C], for the largest magnitudes of each input channel in data [C] and weights [C], float32.

    `strength` is m. A magnitude under FLT_EPSILON counts as 0: where both of a channel are, its factor is 1; where one
    is, the channel takes the largest range that any channel has on the other side, or keeps 1 if its factor would be
    illegal. Where that leaves nothing to go by
    (all data are 0, or all weights) every factor is 1. Raises `ValueError` for a strength outside 0.2 to 0.8, and
    `DiagnosticError`: AM404 for data or weights that are not finite, AM278 for factors that are not in (FLT_EPSILON, 1
    / FLT_EPSILON).
    """
    if not LEAST_STRENGTH <= strength <= MOST_STRENGTH:
        raise ValueError(f"a migration strength is from {LEAST_STRENGTH} to {MOST_STRENGTH}, not {strength}")
    a, w = (np.asarray(each, np.float32).reshape(-1) for each in (data, weights))
    if not (np.isfinite(a).all() and np.isfinite(w).all()):
        message = f"the data or the weights of layer `{layer_name}` hold NaN or Inf, and so would their balance"
        raise error("AM404", message, help="check the calibration data and the weights up to the layer")
    no_data, no_weights = a < FLT_EPSILON, w < FLT_EPSILON
    told = ~no_data & ~no_weights
    factors = np.ones(len(a), np.float32)
    # Powers one by one: their quotient has the whole range of float32, as AMCT's has.
    factors[told] = a[told] ** np.float32(strength) / w[told] ** np.float32(1 - strength)
    if bool((told | (no_data & no_weights)).all()):
        return checked_factors(factors, layer_name)
    most_weight, most_data = _largest(w[told] * factors[told]), _largest(a[told] / factors[told])
    if most_weight < FLT_EPSILON or most_data < FLT_EPSILON:
        return np.ones(len(a), np.float32)
    only_weights, only_data = no_data & ~no_weights, no_weights & ~no_data
    factors[only_weights] = _factors_up_to(most_weight, w[only_weights])
    factors[only_data] = a[only_data] / most_data
    # Nothing depends on these: where the other side is hardly more than 0 either, AMCT stops.
    factors[~told & ~legal_factors(factors)] = 1
    return checked_factors(factors, layer_name)


def checked_factors(factors: FloatArray, layer_name: str) -> FloatArray:
    """The factors, if all lie in (FLT_EPSILON, 1 / FLT_EPSILON); else `DiagnosticError` (AM278) naming the layer."""
    legal = legal_factors(factors)
    if bool(legal.all()):
        return factors
    first = int(np.argmin(legal))
    raise error(
        "AM278",
        f"the balance factor {factors[first]:g} of layer `{layer_name}` for channel {first} is illegal",
        notes=(f"a factor must be above {FLT_EPSILON:g} and below {1 / FLT_EPSILON:g}",),
        help="take another `migration_strength`, or leave this layer without `dmq_balancer`",
    )


def legal_factors(factors: FloatArray) -> NDArray[np.bool_]:
    """Which of the factors lie in (FLT_EPSILON, 1 / FLT_EPSILON)."""
    return np.asarray(np.isfinite(factors) & (factors > FLT_EPSILON) & (factors < 1 / FLT_EPSILON))


def _factors_up_to(most: np.float32, magnitudes: FloatArray) -> FloatArray:
    """What brings magnitudes to `most` and no further: the last bit of a quotient must not widen the weights' range."""
    factors = most / magnitudes
    beyond = factors * magnitudes > most
    factors[beyond] = np.nextafter(factors[beyond], np.float32(0))
    return np.asarray(factors)


def _largest(ranges: FloatArray) -> np.float32:
    return np.float32(ranges.max(initial=0))
