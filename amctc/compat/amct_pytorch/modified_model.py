"""The modified ONNX model that goes from `quantize_model` to `save_model`: float, with weights that lie on grids."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final

from amctc.diagnostics import Collector
from amctc.driver.quantize import refuse_quantized, require_weights
from amctc.frontends.onnx import graph_of_model
from amctc.frontends.onnx.read_model import read_model
from amctc.ir import Graph
from amctc.targets.onnx.external import model_files
from amctc.targets.onnx.metadata import PREFIX, kept_metadata
from amctc.targets.onnx.model import float_model

_DATA_TYPE: Final = "op_data_type"
"""An attribute that AMCT gives the layers of these files, and ONNX knows nothing of."""


_LONGEST: Final = 1 << 20
_LARGEST: Final = 1 << 31

_SHAPES: Final = f"{PREFIX}shapes"
"""The shapes of what the balanced layers read in the example, as JSON: free sizes do not tell where channels lie."""


def modified_model(graph: Graph, layers: Collection[str]) -> bytes:
    """The file of a graph whose weights are quantized and whose data are not; `layers` are those to be quantized.

    Raises `DiagnosticError`: AM710 for what ONNX has no form of, AM712 for more than 2 GiB.
    """
    from onnx import helper

    model = float_model(graph)
    for node in model.graph.node:
        if node.name in layers:
            node.attribute.append(helper.make_attribute(_DATA_TYPE, "float"))
    model.producer_name = "amctc"
    shapes = {node.name: node.inputs[0].shape for node in graph.nodes if node.quant is not None and node.quant.balance}
    if shapes:
        model.metadata_props.add(key=_SHAPES, value=json.dumps(shapes))
    (content,) = model_files(model, "modified model", "", external=False).values()
    return content


def load_modified(file: str, collector: Collector) -> Graph:
    """The graph of such a file, AMCT's or ours. Raises `DiagnosticError`: what reading finds, AM332 for a model that
    is quantized already.
    """
    model = read_model(file)
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name != _DATA_TYPE]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)
    graph = graph_of_model(model, file, collector)
    for name, shape in _shapes(kept_metadata(graph).get(_SHAPES, "")).items():
        if name in graph and graph.node(name).inputs:
            value = graph.node(name).inputs[0]
            value.shape = value.shape or shape
    refuse_quantized(graph, file)
    require_weights(graph)
    return graph


def _shapes(said: str) -> dict[str, tuple[int, ...]]:
    """The shapes that a text says of what layers read, without what are none."""
    try:
        found = json.loads(said) if len(said) < _LONGEST else None
    except (ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {str(name): tuple(sizes) for name, sizes in entries if _is_shape(sizes)}


def _is_shape(sizes: object) -> bool:
    return isinstance(sizes, list) and all(type(size) is int and 0 < size < _LARGEST for size in sizes)
