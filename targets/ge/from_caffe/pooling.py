"""Poolings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pooling import AVE, MAX, pool_geometry
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable, need_shape
from amctc.text.plain import Plain

_MODES = {MAX: 0, AVE: 1}


def _pooling(c: Crossing, node: Node) -> None:
    """Sizes are rounded up by 0, which is Caffe's own number for that; a global pooling has the window that it is."""
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
        "ceil_mode": int(param.round_mode),
        "data_format": "NCHW",
    }
    c.map(node, "Pooling", c.inputs(node), attributes)


POOLING: Mapping[str, Rule] = MappingProxyType({"caffe.Pooling": _pooling})
