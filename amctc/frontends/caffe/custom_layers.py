"""Layers of types that the op table lacks: which are custom layers, and what their weights are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from amctc.diagnostics import Diagnostic, Level
from amctc.dialects.custom import is_type_name, registered
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.table import op_def
from amctc.frontends.caffe.layer_def import LayerDef
from amctc.ir import Node
from amctc.ir.node import Array, Shape

_SIDE = 128
"""Of images that are made up: larger than any kernel, and small enough for Caffe's limit on blobs."""

_MOST_GROUPS = 4096


def check_custom_layer(layer: LayerDef, with_protos: bool, known: Sequence[str], help: str | None) -> Diagnostic | None:
    """What there is to say of a layer of unknown type; an error (AM307) where it cannot be a custom layer.

    It is one where a host op is registered for its type or the user gave a proto, which may hold its
    parameters. In the second case a type that is one letter off a `known` one is warned of (AM323).
    `help` is what to say of the nearest known one, if anything.
    """
    if is_type_name(layer.type) and registered(layer.type) is not None:
        return None
    if is_type_name(layer.type) and with_protos:
        meant = next((kind for kind in known if _one_letter_off(layer.type, kind)), None)
        if meant is None:
            return None
        message = f"layer `{layer.name}` has the type `{layer.type}`, which is taken for a custom layer"
        return Diagnostic("AM323", message, Level.WARNING, layer.type_span, help=f"did you mean `{meant}`?")
    message = f"layer `{layer.name}` has the unknown type `{layer.type}`"
    how = (
        f"for a custom layer give `--custom-proto` with its parameters, "
        f'or call `amctc.register_host_op("{layer.type}", …)`; `amctc ops` lists the known types'
    )
    return Diagnostic("AM307", message, span=layer.type_span, help=f"{help} {how}" if help else how)


def _one_letter_off(word: str, known: str) -> bool:
    """Whether one letter is wrong, missing or too many, or two changed places, or capitals differ."""
    if word.lower() == known.lower():
        return True
    if abs(len(word) - len(known)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(word, known, strict=False)) if a != b), min(len(word), len(known)))
    a, b = word[start:], known[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def blob_roles(blobs: Sequence[Array]) -> dict[str, Array]:
    """The weights of a custom layer: its blobs as they are, by number."""
    return {f"blob{index}": blob for index, blob in enumerate(blobs)}


def weight_shapes_of(node: Node, blobs: Sequence[Array]) -> Mapping[str, Shape] | None:
    """The weights of a layer whose input shapes only running tells: what any input shape asks for that the blobs fit.

    None where no input shape fits them. O(number of candidates), which the blobs' own sizes give.
    """
    row = op_def(node)
    for shape in _candidates([blob.shape for blob in blobs]):
        shapes = (shape,) * len(node.inputs)
        try:
            row.infer(node, shapes)
            wanted = row.weight_shapes(node, shapes)
        except (OpError, UnknownShape):
            continue
        if len(wanted) == len(blobs) and all(map(_fits, (blob.shape for blob in blobs), wanted.values())):
            return wanted
    return None


def _candidates(shapes: Sequence[Shape]) -> Iterator[Shape]:
    sizes = dict.fromkeys(size for shape in shapes for size in shape)
    for shape in shapes:
        if len(shape) > 1:  # a convolution in groups has the channels of one group
            groups = (g for g in range(2, min(shape[0], _MOST_GROUPS) + 1) if shape[0] % g == 0)
            sizes |= dict.fromkeys(shape[1] * g for g in groups)
    for size in sizes:
        yield from ((1, size, _SIDE, _SIDE), (1, size), (1, 1, size), (1, size, _SIDE), (size,))


def _fits(found: Shape, wanted: Shape) -> bool:
    lead = len(found) - len(wanted)
    return lead >= 0 and found == (1,) * lead + tuple(wanted)
