"""Files to graphs, one module (or folder) a format."""

from __future__ import annotations

from pathlib import Path

from amctc.diagnostics import Collector, error
from amctc.ir import Graph


def load_model(model: str | Path, weights: str | Path | None = None, collector: Collector | None = None) -> Graph:
    """The graph in a model file; the ending of its name says the format.

    Warnings go to `collector`. Raises `DiagnosticError` (AM3xx) with every mistake found.
    """
    ending = Path(model).suffix.lower()
    if ending in (".prototxt", ".txt", ".pbtxt"):
        from amctc.frontends.caffe import load_caffe

        return load_caffe(model, weights, collector)
    if ending == ".caffemodel":
        help = "give the prototxt first and the caffemodel second"
        raise error("AM330", "a caffemodel alone does not say how its layers are connected", file=str(model), help=help)
    help = "this version reads Caffe models: a `.prototxt` and its `.caffemodel`"
    raise error("AM331", f"`{ending or model}` is not a model format that is read", file=str(model), help=help)
