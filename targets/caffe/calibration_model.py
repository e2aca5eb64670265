"""The calibration model: weights as the quantized model will have them, and an IFMR layer on each observed blob.

A process that runs it on calibration data learns the factors of the data; `amctc/runtime/calibration_session.py` does
so with what the frontend reads back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products
from amctc.ir import Graph, Node
from amctc.runtime.lowering.weights import dequantized_weight
from amctc.targets.caffe.files import net_text, net_weights
from amctc.targets.caffe.quant_layers import CaffeLayer, observer_layer
from amctc.text.plain import Plain


@dataclass(frozen=True)
class CalibrationFiles:
    """The content of the two files of a calibration model."""

    prototxt: str
    caffemodel: bytes


@dataclass(frozen=True)
class BatchNormUpdate:
    """How the BatchNorm layers of a model with quantized weights are to be refreshed by whoever runs it.

    They normalize by the statistics of each batch, and after `iterations` batches a file in `dump_dir` gets the running
    ones. `fraction` is for layers that do not say themselves how much of them is left.
    """

    iterations: int
    fraction: float
    dump_dir: str


def calibration_model(
    graph: Graph, *, batch_num: int, record_file: str, update: BatchNormUpdate | None = None
) -> CalibrationFiles:
    """The files of a graph that has been through annotate-quant, quantize-weights and observe; it stays as it is.

    Quantized weights are written as the floats `q * scale` that such a graph computes with. Without the pass observe
    it is the model with quantized weights alone. The factors are to go into `record_file`, after `batch_num` batches.
    """
    layers = list(_layers(graph, batch_num, record_file, update))
    return CalibrationFiles(net_text(graph, layers), net_weights(graph, layers))


def _layers(
    graph: Graph, batch_num: int, record_file: str, update: BatchNormUpdate | None
) -> Iterator[tuple[Node, CaffeLayer]]:
    for node in graph.nodes:
        if node.op == "quant.Observe":
            yield node, observer_layer(node, batch_num, record_file)
            continue
        blobs = dict(node.weights)
        if node.quant is not None and node.quant.weight is not None:
            blobs |= {product.weight: dequantized_weight(node, product.weight) for product in inner_products(node)}
        attrs = node.attrs
        if update is not None and op_def(node).statistics is not None:
            attrs = _refreshing(attrs, update)
        yield node, CaffeLayer(node.type, attrs, tuple(blobs.values()))


def _refreshing(attrs: dict[str, Plain], update: BatchNormUpdate) -> dict[str, Plain]:
    """The fields of a BatchNorm layer that is refreshed."""
    old = attrs.get("batch_norm_param")
    own: dict[str, Plain] = {"moving_average_fraction": update.fraction}
    parameter = own | (old if isinstance(old, dict) else {}) | {"use_global_stats": False}
    told: dict[str, Plain] = {"iterations": update.iterations, "dump_dir": update.dump_dir}
    return {**attrs, "batch_norm_param": parameter, "bn_update_param": told}
