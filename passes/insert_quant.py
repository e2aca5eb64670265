"""insert-quant: turn annotations into Quantize, Dequantize and AntiQuantize nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.dialects.quant import float_type
from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_def
from amctc.dialects.traits import inner_products, output_channel_axis
from amctc.ir import Graph, InputQuant, Node, NodeQuant, Provenance, Use, Value, WeightQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.text.plain import Plain

_INSERTED = Provenance(inserted=True)


@dataclass(frozen=True)
class InsertQuant(Pass):
    """Insert the quantization of every calibrated layer.

    A layer with quantized weights becomes Quantize -> integer layer -> Dequantize. A layer without
    weights computes on Quantize -> AntiQuantize, that is on float values of the grid. Inputs that
    read one value with equal factors share one Quantize (and one AntiQuantize). A recurrent layer
    quantizes inside: its factors go into its own parameters.
    """

    name: ClassVar[str] = "insert-quant"
    needs_before: ClassVar[tuple[str, ...]] = ("quantize-weights", "calibrate|apply-record", "quantize-bias")

    def run(self, graph: Graph, context: Context) -> bool:
        annotated = [node for node in graph.nodes if node.quant is not None]
        quantized: dict[tuple[Value, float, int, int], Node] = {}
        anti: dict[Node, Node] = {}
        outside = [node for node in annotated if not self._quantize_inside(node)]
        for node in outside:
            self._quantize_inputs(graph, node, quantized, anti)
        for node in outside:
            if node.quant is not None and node.quant.weight is not None:
                self._dequantize_output(graph, node, node.quant, node.quant.weight)
        # Sizes that the model leaves open stay those of the data.
        sources = (value for node in graph.nodes if op_def(node).source for value in node.outputs)
        annotate_shapes(graph, {value.blob: value.shape for value in sources if value.shape is not None})
        return bool(annotated)

    def _quantize_inside(self, node: Node) -> bool:
        recurrent = op_def(node).recurrent
        if recurrent is None or node.quant is None:
            return False
        recurrent.quantize(node)
        node.record(self.name, "quantizes its inputs and its hidden state inside", node.quant.rule)
        return True

    def _quantize_inputs(
        self,
        graph: Graph,
        node: Node,
        quantized: dict[tuple[Value, float, int, int], Node],
        anti: dict[Node, Node],
    ) -> None:
        if node.quant is None:
            return
        inputs = node.inputs
        for quant in node.quant.inputs:
            scale, offset = _factors(node, quant)
            key = (inputs[quant.index], scale, offset, quant.bits)
            use = Use(node, quant.index)
            if key in quantized:
                quantize = quantized[key]
                graph.set_input(use, quantize.output)
            else:
                suffix = "quant" if len(node.quant.inputs) == 1 else f"quant.{quant.index}"
                attrs: dict[str, Plain] = {
                    "scale": scale,
                    "offset": offset,
                    "bits": quant.bits,
                    "layer": node.name,
                    "index": quant.index,
                }
                name = graph.unused_name(f"{node.name}.{suffix}")
                quantize = graph.insert_before([use], name, "quant.Quantize", attrs=attrs, provenance=_INSERTED)
                quantize.record(self.name, f"quantizes input {quant.index} of `{node.name}`", node.quant.rule)
                quantized[key] = quantize
            if node.quant.weight is None:
                self._back_to_float(graph, use, quantize, anti)

    def _back_to_float(self, graph: Graph, use: Use, quantize: Node, anti: dict[Node, Node]) -> None:
        if quantize in anti:
            graph.set_input(use, anti[quantize].output)
            return
        name = graph.unused_name(quantize.name.replace(".quant", ".anti_quant"))
        attrs = {**quantize.attrs, **float_type(quantize.inputs[0])}
        node = graph.insert_before([use], name, "quant.AntiQuantize", attrs=attrs, provenance=_INSERTED)
        node.record(self.name, f"takes `{quantize.name}` back to float for layers without weights")
        anti[quantize] = node

    def _dequantize_output(self, graph: Graph, node: Node, quant: NodeQuant, weight: WeightQuant) -> None:
        (product,) = inner_products(node)
        data, scale_w = quant.operand(product.operand), weight.scales.get(product.weight)
        if data.scale is None or scale_w is None:
            raise ValueError(f"{node.name!r} has not been calibrated")
        deq_scale = np.float32(data.scale) * scale_w
        name = graph.unused_name(f"{node.name}.dequant")
        attrs: dict[str, Plain] = {"layer": node.name, "bits": weight.bits, **float_type(node.output)}
        axis = output_channel_axis(node)
        if axis is not None and axis != 1 and scale_w.size > 1:
            attrs["axis"] = axis
        dequantize = graph.insert_after(
            node.output,
            name,
            "quant.Dequantize",
            attrs=attrs,
            weights={"deq_scale": deq_scale.astype(np.float32)},
            provenance=_INSERTED,
        )
        dequantize.record(self.name, f"takes the sums of `{node.name}` back to float")


def _factors(node: Node, quant: InputQuant) -> tuple[float, int]:
    if quant.scale is None or quant.offset is None:
        raise ValueError(f"input {quant.index} of {node.name!r} has not been calibrated")
    return quant.scale, quant.offset
