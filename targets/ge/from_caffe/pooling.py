"""Poolings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pooling import AVE, MAX, pool_geometry, rounds_down
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain

CEIL, FLOOR = 0, 1

_MODES = {MAX: 0, AVE: 1}


def _pooling(c: Crossing, node: Node) -> None:
    """`ceil_mode` 0 rounds sizes up: it is the number of Caffe's `round_mode`, whose other form says the same here.

    The window of a global pooling stays 1x1, as the parser leaves it.
    """
    g = pool_geometry(node, need_shape(node.inputs[0]))
    if len(node.outputs) > 1 or g.method not in _MODES:
        raise Unsayable("is no MAX or AVE pooling with one top")
    param = params(node, "pooling_param")
    attributes: dict[str, Plain] = {
        "mode": _MODES[g.method],
        "global_pooling": bool(param.global_pooling),
        "window": (1, 1) if param.global_pooling else g.kernel,
        "stride": g.stride,
        "pad": (g.pad[0], g.pad[0], g.pad[1], g.pad[1]),
        "dilation": (1, 1, 1, 1),
        "ceil_mode": FLOOR if rounds_down(param) else CEIL,
        "data_format": "NCHW",
    }
    c.map(node, "Pooling", c.inputs(node), attributes)


POOLING: Mapping[str, Rule] = MappingProxyType({"caffe.Pooling": _pooling})
