"""Weights that lie in a file beside the textual form of a graph: which arrays, and under which keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from amctc.ir.graph import Graph
from amctc.ir.node import Array

LISTED = 64
"""Arrays of at most this many elements are written as numbers, longer ones in base64 or to a file."""

_LONGEST_KEY = 200


@dataclass(frozen=True)
class StoredWeights:
    """The arrays that `file` is to hold, by their keys `layer/role`; one that layers share is there once."""

    file: str
    arrays: Mapping[str, Array]
    keys: Mapping[int, str]

    @classmethod
    def of(cls, graph: Graph, file: str) -> StoredWeights:
        """All weights of a graph that are too long to list, or that layers share."""
        holders = Counter(id(array) for node in graph.nodes for array in node.weights.values())
        arrays: dict[str, Array] = {}
        keys: dict[int, str] = {}
        for node in graph.nodes:
            for role, array in node.weights.items():
                if array.dtype.kind == "V":  # an archive would forget what these are: bfloat16 and the like
                    continue
                if id(array) not in keys and (array.size > LISTED or holders[id(array)] > 1):
                    key = _free(_key(node.name, role), arrays)
                    arrays[key] = array
                    keys[id(array)] = key
        return cls(file, arrays, keys)

    def place_of(self, array: Array) -> tuple[str, str] | None:
        """File and key of an array; None for one that is not in the file."""
        key = self.keys.get(id(array))
        return None if key is None else (self.file, key)


def _key(layer: str, role: str) -> str:
    """A layer may be called anything, the entry of an archive may not."""
    fits = layer.isprintable() and len(layer) <= _LONGEST_KEY and not layer.startswith("/") and "\\" not in layer
    return f"{layer if fits else 'layer'}/{role}"


def _free(wanted: str, taken: Mapping[str, Array]) -> str:
    key, count = wanted, 0
    while key in taken:
        count += 1
        key = f"{wanted}.{count}"
    return key
