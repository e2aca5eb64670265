"""Parameters that layers share by name, where passes have made them differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from amctc.ir import Node
from amctc.ir.node import Array
from amctc.text.plain import Plain

_SHARING = ("name", "share_mode")


def apart_names(nodes: Iterable[Node]) -> frozenset[str]:
    """The names under which layers no longer have one and the same blob.

    Caffe would load one of them for all: a batch norm folded into one of two such layers, say, would
    be in both.
    """
    first: dict[str, Array] = {}
    apart: set[str] = set()
    for node in nodes:
        for spec, blob in zip(_specs(node.attrs), node.weights.values(), strict=False):
            name = spec.get("name")
            if isinstance(name, str) and name and not _same(first.setdefault(name, blob), blob):
                apart.add(name)
    return frozenset(apart)


def without_names(attrs: dict[str, Plain], apart: frozenset[str]) -> dict[str, Plain]:
    """The fields of a layer whose `param` messages share none of these names; the rates stay."""
    specs = _specs(attrs)
    if not any(spec.get("name") in apart for spec in specs):
        return attrs
    own: list[Plain] = [
        {key: value for key, value in spec.items() if key not in _SHARING} if spec.get("name") in apart else spec
        for spec in specs
    ]
    changed: dict[str, Plain] = {**attrs, "param": tuple(own)}
    return changed


def _specs(attrs: dict[str, Plain]) -> list[dict[str, Plain]]:
    given = attrs.get("param", ())
    return [spec if isinstance(spec, dict) else {} for spec in (given if isinstance(given, tuple) else (given,))]


def _same(a: Array, b: Array) -> bool:
    return a is b or (a.dtype == b.dtype and np.array_equal(a.reshape(-1), b.reshape(-1)))
