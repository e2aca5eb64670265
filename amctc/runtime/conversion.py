"""Numbers that a user gives, as the element type that an input takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.onnx.element_types import numpy_type

_EXACT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
"""Up to 2 to this power a float type holds every integer."""
_RANGES = {"bool": (0, 1), "int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}


class Unfit(Exception):
    """Numbers that an element type cannot hold; the text goes on from the name of what holds them."""


def converted(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Booleans, integers or floats as the element type `dtype`; the same array where they are of it.

    Floats are rounded to a float type, and what that cannot hold becomes infinite. Raises `Unfit` for what is no
    numbers, for integers that the type does not hold, and for fractions where it takes integers.
    """
    if array.dtype.name == dtype:
        return array
    if array.dtype.kind not in "biuf":
        raise Unfit(f"are {array.dtype}, not numbers")
    wanted = numpy_type(dtype)
    bits = _EXACT_BITS.get(dtype)
    if dtype in _RANGES or wanted.kind in "iu":
        _check_integers(array, wanted)
    elif bits is not None and array.dtype.kind in "iu" and array.size and np.iinfo(array.dtype).max > 1 << bits:
        largest = max(abs(int(array.max())), abs(int(array.min())))
        if largest > 1 << bits:
            raise Unfit(f"hold the integer {largest}, which {dtype} cannot")
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _check_integers(array: NDArray[Any], wanted: np.dtype[Any]) -> None:
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array) | (np.trunc(array) != array)
        if wrong.any():
            raise Unfit(f"hold {array[wrong].flat[0]}, and the input takes {wanted.name}")
    if not array.size or array.dtype.kind == "b":
        return
    limits = _RANGES.get(wanted.name)
    low, high = limits if limits is not None else (int(np.iinfo(wanted).min), int(np.iinfo(wanted).max))
    smallest, largest = int(array.min()), int(array.max())
    if smallest < low or largest > high:
        raise Unfit(f"hold {smallest if smallest < low else largest}, and the input takes {wanted.name}")
