"""What the weights of a layer are before anything is loaded, random fillers included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.dialects.caffe.params import params
from amctc.dialects.table import op_def
from amctc.frontends.caffe.fillers import filled
from amctc.ir import Node
from amctc.ir.node import Shape

MOST_FILLED = 1 << 28
"""Numbers of one weight that only a filler makes: its size comes from the prototxt alone."""

_FAN_OUT, _AVERAGE = 1, 2


def fill(node: Node, role: str, shape: Shape, draw: np.random.Generator) -> NDArray[np.float32]:
    """The weight as its filler gives it; random numbers are taken from `draw`.

    The formulas are those of Caffe's fillers. Raises `DiagnosticError` (AM672) for an unknown filler and for
    a weight of over `MOST_FILLED` numbers.
    """
    if math.prod(shape) > MOST_FILLED:
        message = f"the {role} of layer `{node.name}` has {math.prod(shape)} numbers and no weights are given for it"
        raise error("AM672", message, help="give the net a weights file that has the layer")
    known = filled(node, role, shape)
    if known is not None:
        return known
    filler = _filler(node, role)
    if filler is None:
        return np.zeros(shape, np.float32)
    return _drawn(node, filler, shape, draw).astype(np.float32)


def _filler(node: Node, role: str) -> Any | None:
    """The filler's message in the layer's own parameters; None where the layer has none for such a weight."""
    field = op_def(node).parameter
    if field is None:
        return None
    own = params(node, field)
    if role == "bias" or role.endswith("_bias"):
        names = ("bias_filler", "filler")
    elif "weight" in role:
        names = ("weight_filler", "filler")
    else:
        names = ("filler", "scale_filler")
    name = next((name for name in names if name in own.DESCRIPTOR.fields_by_name), None)
    return None if name is None else getattr(own, name)


def _drawn(node: Node, filler: Any, shape: Shape, draw: np.random.Generator) -> NDArray[Any]:
    match filler.type:
        case "constant":
            return np.full(shape, filler.value, np.float32)
        case "uniform":
            return draw.uniform(filler.min, filler.max, shape)
        case "gaussian":
            return _gaussian(draw, filler, shape)
        case "positive_unitball":
            drawn = draw.uniform(0, 1, shape)
            rows = drawn.reshape(shape[0] if shape else 1, -1)
            sums = rows.sum(axis=1, keepdims=True)
            return (rows / np.where(sums == 0, 1, sums)).reshape(shape)
        case "xavier":
            bound = math.sqrt(3 / _fan(filler, shape))
            return draw.uniform(-bound, bound, shape)
        case "msra":
            return draw.normal(0, math.sqrt(2 / _fan(filler, shape)), shape)
        case other:
            message = f"layer `{node.name}` has a filler of the unknown type `{other}`"
            known = "constant, uniform, gaussian, positive_unitball, xavier, msra and bilinear (square kernels)"
            raise error("AM672", message, help=f"there are {known}")


def _gaussian(draw: np.random.Generator, filler: Any, shape: Shape) -> NDArray[Any]:
    drawn = draw.normal(filler.mean, max(0.0, filler.std), shape)
    if filler.sparse < 0:
        return drawn
    outputs = shape[0] if shape else 1
    kept = draw.random(shape) < min(1.0, filler.sparse / max(1, outputs))
    return np.asarray(drawn * kept)


def _fan(filler: Any, shape: Shape) -> float:
    """By what Caffe divides the variance: how many numbers go into an output, or come out of an input, or the mean."""
    count = max(1, math.prod(shape))
    into = count / max(1, shape[0]) if shape else 1.0
    out = count / max(1, shape[1]) if len(shape) > 1 else float(count)
    if filler.variance_norm == _FAN_OUT:
        return out
    return (into + out) / 2 if filler.variance_norm == _AVERAGE else into
