"""Layers that move, select, join or drop elements."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.ir.node import Shape
from tests.fuzz.pieces import Bench, Piece, Template, along


def _concat(bench: Bench) -> Piece:
    first = bench.blob(lambda shape: len(shape) > 0)
    axis = bench.axis(first.shape)
    at = axis % len(first.shape)

    def fits(shape: Shape) -> bool:
        return len(shape) == len(first.shape) and (*shape[:at], *shape[at + 1 :]) == (
            *first.shape[:at],
            *first.shape[at + 1 :],
        )

    others = [bench.blob(fits, first.shape) for _ in range(bench.between(0, 2))]
    return Piece((first, *others), f"concat_param {{ axis: {axis} }}")


def _slice(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: max(shape, default=0) > 1)
    axis = bench.pick(*(axis for axis, size in enumerate(blob.shape) if size > 1))
    size = blob.shape[axis]
    if size % 2 == 0 and bench.pick(True, False):
        return Piece((blob,), f"slice_param {{ axis: {axis} }}", 2)
    point = bench.between(1, size - 1)
    return Piece((blob,), f"slice_param {{ axis: {axis} slice_point: {point} }}", 2)


def _permute(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0)
    orders = [
        range(len(blob.shape))[::-1],
        (*range(1, len(blob.shape)), 0),
        range(len(blob.shape)),
        (len(blob.shape) - 1,),
    ]
    return Piece((blob,), f"permute_param {{ {' '.join(f'order: {axis}' for axis in bench.pick(*orders))} }}")


def _reshape(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 1)
    return Piece((blob,), f"reshape_param {{ {bench.pick('shape { dim: 0 dim: -1 }', 'shape { dim: -1 }')} }}")


def _flatten(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0)
    return Piece((blob,), f"flatten_param {{ axis: {bench.between(0, len(blob.shape) - 1)} }}")


def _crop(bench: Bench) -> Piece:
    first = bench.blob(lambda shape: len(shape) > 0)
    least = lambda shape: len(shape) == len(first.shape) and shape[-1] <= first.shape[-1]  # noqa: E731
    second = bench.blob(least, first.shape)
    offset = bench.between(0, first.shape[-1] - second.shape[-1])
    return Piece((first, second), f"crop_param {{ axis: -1 offset: {offset} }}")


def _unsqueeze(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) < 6)
    return Piece((blob,), f"unsqueeze_param {{ dim: {bench.between(-len(blob.shape) - 1, len(blob.shape))} }}")


def _tile(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0 and max(shape) <= 24)
    return Piece((blob,), f"tile_param {{ axis: {bench.axis(blob.shape)} tiles: 2 }}")


def _shuffle(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 1)
    group = bench.pick(*(g for g in (1, 2, blob.shape[1]) if blob.shape[1] % g == 0))
    return Piece((blob,), f"shuffle_channel_param {{ group: {group} }}")


def _batch_reindex(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0)
    return Piece((blob, bench.input((bench.between(1, 3),), f"below{blob.shape[0]}")))


def _filter(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0)
    return Piece((blob, bench.input((blob.shape[0],), "flags")))


def _embed(bench: Bench) -> Piece:
    index = bench.input(bench.pick((2, 3), (4,)), "below5")
    return Piece((index,), f"embed_param {{ input_dim: 5 num_output: 3 bias_term: {bench.flag()} }}")


def _both(count: int) -> Template:
    return lambda bench: Piece((bench.blob(),), tops=count)


MOVEMENT: Mapping[str, Template] = {
    "Concat": _concat,
    "Slice": _slice,
    "Split": _both(2),
    "Silence": _both(0),
    "HDF5Output": lambda bench: Piece(
        (bench.blob(), bench.blob()), 'hdf5_output_param { file_name: "unwritten.h5" }', 0
    ),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Tile": _tile,
    "Crop": _crop,
    "Reverse": along("reverse_param"),
    "ShuffleChannel": _shuffle,
    "Unsqueeze": _unsqueeze,
    "BatchReindex": _batch_reindex,
    "Filter": _filter,
    "Embed": _embed,
}
