"""Random legal nets of every layer type."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_def
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import graph_inputs
from tests.fuzz.pieces import IMAGES, Bench, Blob, fed, input_layer
from tests.fuzz.templates import IN_PLACE, TEMPLATES

TYPES = tuple(sorted(TEMPLATES))
_LARGEST = 1 << 13
"""Elements of the largest blob that another layer may read."""
_SHAPES = ((1, 4, 4, 6), IMAGES, (2, 3, 5, 4), (2, 8), (3, 4, 5))


@st.composite
def nets(draw: st.DrawFn, types: Sequence[str] = TYPES, most_layers: int = 6) -> str:
    """The prototxt of a legal net; a layer that would be refused is left out."""
    first = draw(st.sampled_from(_SHAPES))
    blobs: Sequence[Blob] = (Blob("a", first), Blob("b", first))
    text = "".join(input_layer(blob) for blob in blobs)
    for number in range(draw(st.integers(1, most_layers))):
        longer = text + draw(layers(draw(st.sampled_from(types)), blobs, number))
        found = blobs_of(longer)
        if found is not None:
            text, blobs = longer, found
    return text


@st.composite
def layers(draw: st.DrawFn, kind: str, blobs: Sequence[Blob], number: int = 99) -> str:
    """A layer of a type that reads some of the blobs, behind the inputs that it needs besides."""
    bench = Bench(draw, blobs, number)
    piece = TEMPLATES[kind](bench)
    free = len(piece.bottoms) == 1 and not piece.bottoms[0].read
    in_place = kind in IN_PLACE and free and draw(st.booleans())
    tops = [piece.bottoms[0].name] if in_place else [f"t{number}_{top}" for top in range(piece.tops)]
    reads = " ".join(f'bottom: "{blob.name}"' for blob in piece.bottoms)
    writes = " ".join(f'top: "{top}"' for top in tops)
    inputs = "".join(input_layer(blob) for blob in bench.made)
    return f'{inputs}layer {{ name: "l{number}" type: "{kind}" {reads} {writes} {piece.parameters} }}\n'


def blobs_of(text: str) -> list[Blob] | None:
    """The blobs of a net that another layer may read; None if the net is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        try:
            graph = load_model(path, keep_training=True)
        except DiagnosticError:
            return None
    # What reads a loss is left out of a net that is to be deployed.
    blobs: dict[str, Blob] = {}
    for value in [value for node in graph if not op_def(node).training_only for value in node.outputs]:
        if value.shape is not None:
            blobs[value.blob] = Blob(value.blob, value.shape, bool(graph.uses(value)))
    return [blob for blob in blobs.values() if 0 < math.prod(blob.shape) < _LARGEST]


def fitting_feeds(graph: Graph, seed: int = 0) -> Mapping[str, NDArray[np.float32]]:
    """Figures for the inputs of a net, each of the kind that its name says."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for name, value in graph_inputs(graph).items():
        found[name] = fed(name, value.shape if value.shape is not None else IMAGES, rng)
    return found
