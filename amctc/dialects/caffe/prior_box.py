"""PriorBox: the boxes that SSD's predictions are relative to, a constant of the shapes.

Semantics: prior_box_layer.cpp of Caffe's SSD branch (weiliu89/caffe).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amctc.dialects.caffe.blobs import need_rank
from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError
from amctc.ir import Node
from amctc.ir.node import Shape

PARAMETER = "prior_box_param"
_MOST_VALUES = 256
_SAME_RATIO = 1e-6


@dataclass(frozen=True)
class PriorBoxes:
    """The boxes of every cell of a feature map; pairs are (height, width)."""

    sizes: tuple[tuple[float, float], ...]
    """(height, width) in pixels of each box of a cell, in order."""
    grid: tuple[int, int]
    image: tuple[int, int]
    step: tuple[float, float]
    """Pixels from one cell to the next."""
    offset: float
    """Where in its cell a box has its centre, in cells."""
    clip: bool
    variance: tuple[float, float, float, float]


def prior_boxes(node: Node, feature: Shape, image: Shape) -> PriorBoxes:
    """The boxes of a PriorBox layer for a feature map [N, C, H, W] and an image [N, C, H, W].

    Raises `OpError` for everything that Caffe's set-up of the layer refuses, and for sizes and
    ratios that are not positive numbers.
    """
    need_rank(feature, 4)
    need_rank(image, 4)
    param = params(node, PARAMETER)
    size = _pair(param, "img", "img_size") or (image[2], image[3])
    step = _pair(param, "step", "step") or (size[0] / max(feature[2], 1), size[1] / max(feature[3], 1))
    return PriorBoxes(
        sizes=_sizes(param),
        grid=(feature[2], feature[3]),
        image=(int(size[0]), int(size[1])),
        step=(float(step[0]), float(step[1])),
        offset=float(param.offset),
        clip=bool(param.clip),
        variance=_variance(param),
    )


def _sizes(param: Any) -> tuple[tuple[float, float], ...]:
    # Caffe keeps sizes as int: a fraction of a pixel is lost.
    least = [int(size) for size in _positive(param, "min_size")]
    most = [int(size) for size in _positive(param, "max_size")]
    if not least:
        raise OpError("needs a `min_size`")
    if most and len(most) != len(least):
        raise OpError(f"needs one `max_size` for each `min_size`: {len(least)} and {len(most)} are given")
    for given, small, large in zip(param.max_size, param.min_size, param.max_size, strict=False):
        if large <= small:
            raise OpError(f"`max_size` {given:g} must be greater than its `min_size` {small:g}")
    ratios = _ratios(param)
    found: list[tuple[float, float]] = []
    for index, side in enumerate(least):
        found.append((float(side), float(side)))
        if most:
            between = math.sqrt(side * most[index])
            found.append((between, between))
        found += [(side / math.sqrt(ratio), side * math.sqrt(ratio)) for ratio in ratios]
    return tuple(found)


def _ratios(param: Any) -> list[float]:
    """Width to height of the boxes behind the square ones: without repetitions, each followed by its inverse."""
    found = [1.0]
    for ratio in _positive(param, "aspect_ratio"):
        if any(abs(ratio - other) < _SAME_RATIO for other in found):
            continue
        found.append(ratio)
        if param.flip:
            found.append(1 / ratio)
    return found[1:]


def _variance(param: Any) -> tuple[float, float, float, float]:
    given = list(_positive(param, "variance")) or [0.1]
    if len(given) not in (1, 4):
        raise OpError(f"`variance` is given once for all or four times, not {len(given)} times")
    first, second, third, fourth = given if len(given) == 4 else given * 4
    return first, second, third, fourth


def _positive(param: Any, name: str) -> Sequence[float]:
    values = [float(value) for value in getattr(param, name)]
    if len(values) > _MOST_VALUES:
        raise OpError(f"`{name}` is given {len(values)} times; at most {_MOST_VALUES} are taken")
    for value in values:
        if not 0 < value < math.inf:
            raise OpError(f"`{name}` must be positive, not {value:g}")
    return values


def _pair(param: Any, stem: str, both: str) -> tuple[float, float] | None:
    """`<stem>_h` and `<stem>_w`, or `both` for the two; None where neither is given."""
    names = f"{stem}_h", f"{stem}_w"
    apart = any(param.HasField(name) for name in names)
    if apart and param.HasField(both):
        raise OpError(f"`{both}` and `{names[0]}`/`{names[1]}` are mixed; give `{both}`, or both of the others")
    if not apart and not param.HasField(both):
        return None
    pair = (getattr(param, names[0]), getattr(param, names[1])) if apart else (getattr(param, both),) * 2
    for name, value in zip(names if apart else (both, both), pair, strict=True):
        if not 0 < value < math.inf:
            raise OpError(f"`{name}` must be positive, not {value:g}")
    return pair


def _infer(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    boxes = prior_boxes(node, shapes[0], shapes[1])
    return ((1, 2, math.prod(boxes.grid) * len(boxes.sizes) * 4),)


PRIOR_BOX = OpDef(
    name="caffe.PriorBox",
    summary="boxes around each cell of a feature map, and the variances that go with their corners",
    inputs=Arity(2, 2),
    outputs=ONE,
    infer=_infer,
    parameter=PARAMETER,
    notes=(
        "the top is a constant: only the shapes of the inputs are read; as in Caffe's SSD branch `min_size` and "
        "`max_size` lose their fractions, a ratio of 1 or one given before is dropped, and `clip` is off by default "
        "(some other Caffes have it on)"
    ),
)
