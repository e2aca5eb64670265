"""Checking what a user feeds into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import Collector, Diagnostic, did_you_mean
from amctc.dialects.caffe.blobs import describe
from amctc.dialects.table import op_def
from amctc.ir import Value
from amctc.ir.node import Shape
from amctc.runtime.conversion import Unfit, converted


def check_feeds(
    feeds: Mapping[str, ArrayLike],
    inputs: Mapping[str, Value],
    declared: Mapping[Value, Shape],
    needed: set[Value],
    finite: bool = True,
) -> dict[Value, NDArray[Any]]:
    """The feeds by value, as arrays of the element type of each input.

    `inputs` are the graph's inputs by blob name, `declared` their shapes, `needed` those that must be
    fed. The first axis may have any length, the others are as declared; an input that is not in `declared` may
    have any shape, and one without axes takes a batch of one number, or of the same number over and over. Only
    axes that an ONNX model leaves free may be of length 0. What is fed is converted where the input's type holds it:
    see `converted`. Raises `DiagnosticError` with every mistake: AM400 an input is missing, AM401 an unknown name,
    AM402 a shape, AM442 a type, AM404 NaN or infinity,
    which `finite` False allows.
    """
    collector = Collector()
    found: dict[Value, NDArray[Any]] = {}
    for name in feeds:
        if name not in inputs:
            help = did_you_mean(name, inputs) or _known(inputs)
            collector.add(Diagnostic("AM401", f"the model has no input `{name}`", help=help))
    for name, value in inputs.items():
        if name in feeds:
            checked = _check(np.asarray(feeds[name]), value, declared.get(value), finite)
            if isinstance(checked, Diagnostic):
                collector.add(checked)
            else:
                found[value] = checked
        elif value in needed:
            shape = declared.get(value)
            known = "the model does not say its shape" if shape is None else f"it is {describe(shape)}"
            message = f"the input `{name}` is not fed; {known}"
            collector.add(Diagnostic("AM400", message))
    collector.raise_errors()
    return found


def _known(inputs: Mapping[str, Value]) -> str:
    return "its inputs are " + ", ".join(f"`{name}`" for name in inputs)


def _check(array: NDArray[Any], value: Value, shape: Shape | None, finite: bool) -> NDArray[Any] | Diagnostic:
    name = value.blob
    if shape == () and array.ndim == 1 and array.size and (array == array[0]).all():
        array = array[0]
    if shape is not None and (array.ndim != len(shape) or array.shape[1:] != shape[1:]):
        message = f"the input `{name}` is {describe(shape)}, not {describe(array.shape)}"
        help = "only the first axis, the batch, may have another length" if shape else None
        return Diagnostic("AM402", message, help=help)
    if array.size == 0 and not _may_be_empty(value, array.shape):
        return Diagnostic("AM402", f"the data for the input `{name}` are empty")
    try:
        numbers = converted(array, value.dtype)
    except Unfit as mistake:
        return Diagnostic("AM442", f"the data for the input `{name}` {mistake}")
    if finite and numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        return Diagnostic("AM404", f"the data for the input `{name}` hold {array[where]} at {list(where)}")
    return numbers


def _may_be_empty(value: Value, found: Shape) -> bool:
    """Whether an input may hold no numbers at all, because the model leaves these axes free."""
    free = op_def(value.producer).free_shape(value.producer)
    return (
        free is not None and len(free) == len(found) and all(f == 0 for n, f in zip(found, free, strict=True) if n == 0)
    )
