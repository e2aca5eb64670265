"""Non-uniform weights as they are stored: codes of 4 bits and the tables of levels that they stand for.

`amctc/dialects/caffe/lookup_blob.py` is the other direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.caffe.lookup_blob import table_blocks
from amctc.dialects.op import Linear
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.quant.snq_codes import CODE_BITS, pack_codes
from amctc.quant.snq_tables import LEVELS, ordered_tables


@dataclass(frozen=True)
class LookupBlob:
    """The content of one blob: two codes a byte in `codes`, 16 int8 for each table in `levels`."""

    shape: Shape
    codes: bytes
    levels: bytes
    axis: int = 0
    groups: int = 1

    def write(self, blob: Any) -> None:
        """Put everything but the shape into a blob message."""
        blob.int4_data = self.codes
        blob.lookup_table.levels = self.levels
        if self.axis:
            blob.lookup_table.axis = self.axis
        if self.groups > 1:
            blob.lookup_table.groups = self.groups


def lookup_blobs(node: Node) -> Mapping[str, LookupBlob]:
    """The weights of a layer that are stored as codes, by role; empty where there are none.

    They are those of a linear layer whose weights are int8 and whose sums a Dequantize of 4 bits reads. It has a table
    for each deq_scale; where more than 16 values occur with one of them, the layer has no codes.
    """
    trait, scales = op_def(node).linear, _clustered_scales(node)
    if trait is None or not scales or trait.weight not in node.weights:
        return {}
    weight = node.weights[trait.weight]
    if weight.dtype != np.int8 or not weight.size:
        return {}
    values = weight.astype(np.int8, copy=False)
    for axis, groups in _places(weight.shape, scales):
        blocks = table_blocks(weight.shape, scales, axis, groups)
        if scales > 1 and not _has_channels(node, trait, weight.shape, blocks):
            continue
        found = _codes(values.reshape(blocks))
        return {} if found is None else {trait.weight: LookupBlob(weight.shape, *found, axis, groups)}
    return {}


def _clustered_scales(node: Node) -> int:
    """How many scales the sums of a layer with clustered weights have; 0 for any other layer."""
    for value in node.outputs:
        for use in node.graph.uses(value):
            reader = use.node
            if reader.op == "quant.Dequantize" and reader.attrs.get("bits") == CODE_BITS:
                stored = reader.weights.get("deq_scale")
                return 0 if stored is None else stored.size
    return 0


def _places(shape: Shape, tables: int) -> Iterator[tuple[int, int]]:
    """Every (axis, groups) along which so many tables can lie."""
    if tables == 1 or (shape and shape[0] == tables):
        yield 0, 1
    if tables > 1 and len(shape) > 1 and tables % shape[1] == 0 and shape[0] % (tables // shape[1]) == 0:
        yield 1, tables // shape[1]


def _has_channels(node: Node, trait: Linear, shape: Shape, blocks: tuple[int, int, int, int]) -> bool:
    """Whether the elements of each table are those of one output channel, in the order of the channels."""
    groups, _, rows, _ = blocks
    tables = np.arange(groups * rows, dtype=np.int32)
    table_of = np.broadcast_to(tables.reshape(groups, 1, rows, 1), blocks).reshape(shape)
    channels = trait.by_output_channel(node, table_of)
    return len(channels) == tables.size and bool((channels.reshape(len(channels), -1) == tables[:, np.newaxis]).all())


def _codes(blocks: NDArray[np.int8]) -> tuple[bytes, bytes] | None:
    """Packed codes and the levels of all tables; None where a table would need more than 16 levels."""
    parts = [blocks[group, :, row] for group, row in np.ndindex(blocks.shape[0], blocks.shape[2])]
    levels = np.empty((len(parts), LEVELS), np.int8)
    for index, part in enumerate(parts):
        present = set(part.tobytes())
        if len(present) > LEVELS:
            return None
        levels[index] = np.resize(np.frombuffer(bytes(present), np.int8), LEVELS)
    tables = ordered_tables(levels)
    codes = np.empty(blocks.shape, np.uint8)
    targets = (codes[group, :, row] for group, row in np.ndindex(blocks.shape[0], blocks.shape[2]))
    for part, table, target in zip(parts, tables, targets, strict=True):
        target[...] = np.frombuffer(part.tobytes().translate(_code_of(table)), np.uint8).reshape(part.shape)
    return pack_codes(codes).tobytes(), tables.tobytes()


def _code_of(table: NDArray[np.int8]) -> bytes:
    """By the byte of a level, its code: the first of those that have it."""
    found = bytearray(256)
    for code in reversed(range(LEVELS)):
        found[int(table[code]) & 0xFF] = code
    return bytes(found)
