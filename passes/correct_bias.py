"""correct-bias: take out of each layer the mean error that quantization makes in its output channels.

    Given   x -> conv: Convolution (Wq, b), quantized; E[y] its mean output in the float network (observe-means)
    Result  x -> conv: Convolution (Wq, b + E[y] - E[yq])

E[yq] is the mean output of the layer in the quantized network, over the same calibration data: every layer computes
with the weights q*scale, and reads data that are put on their grid where they are calibrated. The means are those of
an output channel over samples and positions, borders and padding included. Layers are corrected in the order of the
graph, and each sees what the corrected ones before it give, so that nothing is corrected twice. As the layer is
linear, the mean of what it gives afterwards is E[y], but for the rounding of the bias. Source: Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.2 and appendix D
(empirical bias correction).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.quant import float_type
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node, Provenance, Use, Value
from amctc.pipeline.context import Context
from amctc.pipeline.options import option
from amctc.pipeline.pass_ import Pass
from amctc.runtime.means import mean_corrections
from amctc.text.plain import Plain


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Shift the bias of each layer with quantized weights so that its channels keep the mean of the float network.

    Layers are corrected one behind the other, on calibration data. That is one run over the data, in which each part
    of the network sees all batches before the next does; the activations that are still to be read are kept meanwhile.
    Where those of all batches take more than `memory`, only as many of the first batches are used as take less, and at
    least one. A layer that has no bias gets one. Recurrent layers stay as they are, and their inputs and states are
    not quantized in this run; layers that share their bias are left alone.
    """

    name: ClassVar[str] = "correct-bias"
    needs_before: ClassVar[tuple[str, ...]] = ("observe-means", "quantize-weights", "calibrate")
    needs_after: ClassVar[tuple[str, ...]] = ("quantize-bias", "insert-quant")
    needs_calibration: ClassVar[bool] = True
    memory: int = option(1024, help="MiB of activations that may be kept", least=1, most=1 << 20)

    def batches(self, context: Context) -> int | None:
        return None

    def run(self, graph: Graph, context: Context) -> bool:
        wanted = self._wanted(graph, context)
        if not wanted:
            return False
        calibration = context.need_calibration()
        with _on_quantized_data(graph):
            found = mean_corrections(graph, wanted, calibration.batches(), self.memory << 20)
        for node, shift in found.shifts.items():
            _add_to_bias(node, shift)
            largest = float(np.abs(shift).max(initial=0))
            count = f"{found.batches} batch{'es' if found.batches > 1 else ''}"
            node.record(self.name, f"bias shifted by {largest:.4g} at most, the mean error of {count}")
        context.counts["layers"] += len(found.shifts)
        return bool(found.shifts)

    def _wanted(self, graph: Graph, context: Context) -> Mapping[Node, NDArray[np.float64]]:
        uses = Counter(id(array) for node in graph.nodes for array in node.weights.values())
        wanted: dict[Node, NDArray[np.float64]] = {}
        for node in graph.nodes:
            means = context.means.get(node.name)
            if means is None or node.quant is None or op_def(node).linear is None:
                continue
            bias = node.weights.get(linear_trait(node).bias)
            if bias is not None and uses[id(bias)] > 1:
                context.refuse(self.name, node.name, f"`{node.name}` shares its bias with another layer")
                continue
            wanted[node] = means
        return wanted


def _add_to_bias(node: Node, shift: NDArray[np.float64]) -> None:
    trait = linear_trait(node)
    bias = node.weights.get(trait.bias)
    if bias is None:
        trait.enable_bias(node)
        node.weights[trait.bias] = shift.astype(np.float32)
    else:
        node.weights[trait.bias] = (bias.astype(np.float64) + shift.reshape(bias.shape)).astype(bias.dtype)


@contextmanager
def _on_quantized_data(graph: Graph) -> Generator[None]:
    """Let every calibrated layer read data of its grid, for a while; without recurrent ones, which quantize inside."""
    inserted: list[Node] = []
    shared: dict[tuple[Value, float, int, int], Node] = {}
    for node in graph.nodes:
        if node.quant is None or op_def(node).recurrent is not None:
            continue
        inputs = node.inputs
        for quant in node.quant.inputs:
            if quant.scale is None or quant.offset is None:
                continue
            value, use = inputs[quant.index], Use(node, quant.index)
            key = (value, quant.scale, quant.offset, quant.bits)
            if key not in shared:
                attrs: dict[str, Plain] = {
                    "scale": quant.scale,
                    "offset": quant.offset,
                    "bits": quant.bits,
                    "layer": node.name,
                    "index": quant.index,
                }
                quantize = _insert(graph, use, "quant.Quantize", attrs)
                shared[key] = _insert(graph, use, "quant.AntiQuantize", {**attrs, **float_type(value)})
                inserted += [quantize, shared[key]]
            else:
                graph.set_input(use, shared[key].output)
    try:
        yield
    finally:
        for node in reversed(inserted):
            graph.bypass(node)


def _insert(graph: Graph, use: Use, op: str, attrs: Mapping[str, Plain]) -> Node:
    name = graph.unused_name(f"{use.node.name}.{op.partition('.')[2]}.{use.index}")
    return graph.insert_before([use], name, op, attrs=attrs, provenance=Provenance(inserted=True))
