"""`_quant.json`: which layers of the quantized model stand for which layers of the original."""

from __future__ import annotations

import json

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node

VERSION = 1


def quant_info(graph: Graph) -> str:
    """The mapping as JSON, for tools that compare both models layer by layer.

    The original tool publishes no schema for this file; this one is ours (docs/files.md). `layers`
    has an entry for every layer that was quantized or that took others in; `original` names the
    layers of the source model whose arithmetic it does, first its own.
    """
    layers = [_entry(node) for node in graph.nodes if node.dialect != "quant" and _is_told(node)]
    inserted = [
        {"name": node.name, "type": node.type, "layer": str(node.attrs.get("layer", ""))}
        for node in graph.nodes
        if node.dialect == "quant"
    ]
    content = {"version": VERSION, "model": graph.name, "layers": layers, "inserted": inserted}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _is_told(node: Node) -> bool:
    return node.quant is not None or bool(node.provenance.absorbed)


def _entry(node: Node) -> dict[str, object]:
    own = [] if node.provenance.inserted else [node.name]
    original = [*own, *node.provenance.absorbed]
    entry: dict[str, object] = {
        "name": node.name,
        "type": node.type,
        "original": original,
        "output": original[-1],
        "quantized": node.quant is not None,
        "inputs": [],
        "dequant": None,
    }
    if node.quant is None:
        return entry
    entry["inputs"] = [
        {
            "index": quant.index,
            "quant": _quantizer(node, quant.index),
            "scale": quant.scale,
            "offset": quant.offset,
            "bits": quant.bits,
        }
        for quant in node.quant.operands
    ]
    readers = [use.node for use in node.graph.uses(node.output)] if node.outputs else []
    entry["dequant"] = next((reader.name for reader in readers if reader.op == "quant.Dequantize"), None)
    return entry


def _quantizer(node: Node, index: int) -> str:
    """The name of the node that quantizes an operand: a Quantize, or the layer itself if it is recurrent."""
    if op_def(node).recurrent is not None:
        return node.name
    producer = node.inputs[index].producer
    return producer.inputs[0].producer.name if producer.op == "quant.AntiQuantize" else producer.name
