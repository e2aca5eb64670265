"""Checking what a user feeds into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import Collector, Diagnostic, did_you_mean
from amctc.dialects.caffe.blobs import describe
from amctc.ir import Value
from amctc.ir.node import Shape

EXACT_INTEGER = 2**24
"""Up to here float32 holds every integer."""


def check_feeds(
    feeds: Mapping[str, ArrayLike], inputs: Mapping[str, Value], declared: Mapping[Value, Shape], needed: set[Value]
) -> dict[Value, NDArray[np.float32]]:
    """The feeds as float32 arrays by value.

    `inputs` are the graph's inputs by blob name, `declared` their shapes, `needed` those that must be
    fed. The first axis may have any length but 0, the others are as declared; an input that is not
    in `declared` may have any shape. Integers, bools and other floats are converted where float32 can
    hold them. Raises `DiagnosticError` with every mistake: AM400 an input is missing, AM401 an unknown
    name, AM402 a shape, AM442 a type, AM404 NaN or infinity.
    """
    collector = Collector()
    found: dict[Value, NDArray[np.float32]] = {}
    for name in feeds:
        if name not in inputs:
            help = did_you_mean(name, inputs) or _known(inputs)
            collector.add(Diagnostic("AM401", f"the model has no input `{name}`", help=help))
    for name, value in inputs.items():
        if name in feeds:
            mistake = _check(np.asarray(feeds[name]), name, declared.get(value))
            if isinstance(mistake, Diagnostic):
                collector.add(mistake)
            else:
                found[value] = mistake
        elif value in needed:
            shape = declared.get(value)
            known = "the model does not say its shape" if shape is None else f"it is {describe(shape)}"
            message = f"the input `{name}` is not fed; {known}"
            collector.add(Diagnostic("AM400", message))
    collector.raise_errors()
    return found


def _known(inputs: Mapping[str, Value]) -> str:
    return "its inputs are " + ", ".join(f"`{name}`" for name in inputs)


def _check(array: NDArray[Any], name: str, shape: Shape | None) -> NDArray[np.float32] | Diagnostic:
    if shape is not None and (array.ndim != len(shape) or array.shape[1:] != shape[1:]):
        message = f"the input `{name}` is {describe(shape)}, not {describe(array.shape)}"
        help = "only the first axis, the batch, may have another length" if shape else None
        return Diagnostic("AM402", message, help=help)
    if array.size == 0:
        return Diagnostic("AM402", f"the data for the input `{name}` are empty")
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        largest = max(abs(int(array.max())), abs(int(array.min())))
        if largest > EXACT_INTEGER:
            message = f"the data for the input `{name}` hold the integer {largest}, which float32 cannot"
            return Diagnostic("AM442", message)
    if array.dtype.kind not in "biuf":
        return Diagnostic("AM442", f"the data for the input `{name}` are {array.dtype}, not numbers")
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(floats))[0])
        return Diagnostic("AM404", f"the data for the input `{name}` hold {array[where]} at {list(where)}")
    return floats
