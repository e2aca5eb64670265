"""Why a clean-up must leave a layer as it is, and the steps that several clean-ups share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amctc.dialects.ge import GE
from amctc.dialects.ge.slots import controls
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Provenance, Value
from amctc.pipeline.context import Context

_CHOSEN = ("override_layer_configs", "override_layer_types", "json")


def chosen_by_policy(node: Node, context: Context) -> str | None:
    """That the policy itself, by name or type, has a layer quantized, as a sentence; None where it does not.

    What only the built-in default of a type or `common_config` says of many layers does not count.
    """
    if (reason := _chosen_input(node, context)) is not None:
        return reason
    config = context.policy.layers.get(node.name) if context.policy is not None else None
    if config is None or not config.quant_enable.value or config.rule.kind not in _CHOSEN:
        return None
    return f"the policy has it quantized ({config.rule.words})"


def quantized_by_policy(node: Node, context: Context) -> str | None:
    """That a layer is to be quantized, whoever says so, as a sentence; None where it is not."""
    if (reason := _chosen_input(node, context)) is not None:
        return reason
    config = context.policy.layers.get(node.name) if context.policy is not None else None
    if config is None or not config.quant_enable.value:
        return None
    return f"it is to be quantized ({config.rule.words})"


def _chosen_input(node: Node, context: Context) -> str | None:
    tensors = context.policy.tensors.get(node.name) if context.policy is not None else None
    return f"the policy has an input of it quantized ({tensors[0].rule.words})" if tensors else None


def fusion_is_off(context: Context) -> str | None:
    """Why no layers are to be merged at all; None where they may be."""
    off = context.policy is not None and not context.policy.do_fusion
    return "the policy says `do_fusion: false`" if off else None


def fusion_is_skipped(node: Node, context: Context) -> str | None:
    """Why this layer is not to be merged with others; None where it may be."""
    listed = context.policy is not None and node.name in context.policy.skip_fusion_layers
    return f"`{node.name}` is listed in skip_fusion_layers" if listed else None


def is_awaited(node: Node, context: Context) -> bool:
    """Whether a control edge, which GE graphs may have, lets a layer wait for this one."""
    return node.name in context.fact(_awaited, node.graph)


def waits(node: Node) -> str | None:
    """That a layer waits for others, as a sentence; None where it does not.

    What it becomes part of stands further up, where those others may not have begun.
    """
    found = controls(node)
    return f"a control edge lets it wait for `{found[0]}`" if found else None


def control_edges(node: Node, context: Context) -> str | None:
    """That a layer which would be lost has control edges, as a sentence; None where it has none."""
    waiting = context.fact(_awaited, node.graph).get(node.name)
    return waits(node) or (f"a control edge lets `{waiting}` wait for it" if waiting is not None else None)


def _awaited(graph: Graph) -> Mapping[str, str]:
    """By name of each layer that a control edge leaves, or that took such a layer in, the first that it goes to."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        for source in controls(node):
            found.setdefault(source, node.name)
    if found:
        takers = {name: node.name for node in graph.nodes for name in node.provenance.absorbed}
        found = {takers.get(source, source): reader for source, reader in found.items()}
    return found


def cannot_stand_for(graph: Graph, source: Value, value: Value) -> str | None:
    """Why `source` cannot take the place of `value`, which holds the same; None where it can.

    Inputs of the network keep their names, its outputs too, and two outputs stay two values. A layer that computes
    otherwise in place than not must stay what it is.
    """
    for use in graph.uses(value):
        reader = use.node
        begins = source.blob != value.blob and any(output.blob == source.blob for output in reader.outputs)
        if begins or op_def(reader).in_place_differs(reader):
            return f"`{reader.name}` would no longer work in place, or begin to"
    if not graph.is_output(value):
        return None
    if op_def(source.producer).source:
        return f"the output `{value.blob}` of the network would be its input `{source.blob}` itself"
    if graph.is_output(source):
        return f"two outputs of the network, `{source.blob}` and `{value.blob}`, would be one value"
    beside = _reader_besides(graph, source, value)
    if beside is not None:
        # A written network has as its outputs what no layer reads.
        return f"`{beside.name}` would read the output `{value.blob}` of the network"
    # The value takes the name of the output.
    named = [source.producer, *(use.node for use in graph.uses(source))]
    differing = next((node for node in named if op_def(node).in_place_differs(node)), None)
    return f"`{differing.name}` would no longer work in place" if differing is not None else None


def _reader_besides(graph: Graph, source: Value, value: Value) -> Node | None:
    """Who would read an output of the network that nobody reads yet."""
    if graph.uses(value):
        return None
    node = value.producer
    readers = [*graph.uses(source), *(use for output in node.outputs for use in graph.uses(output))]
    return next((use.node for use in readers if use.node is not node), None)


def merge_chain(graph: Graph, chain: Sequence[Node], by: str) -> None:
    """Remove all but the first of a chain, which takes the name and shape of the last one's output.

    The first must compute by now what the chain did. Takes time in proportion to the length of the chain.
    """
    first, *rest = chain
    last = rest[-1]
    first.output.blob, first.output.shape = last.output.blob, last.output.shape
    graph.replace_uses(last.output, first.output)
    absorbed = (name for node in rest for name in (node.name, *node.provenance.absorbed))
    first.provenance = first.provenance.absorbing(*absorbed)
    for node in reversed(rest):
        graph.remove(node)
    first.record(by, f"does what {layers(rest)} did after it")


def silence(graph: Graph, value: Value, by: str) -> None:
    """Let a Silence read what nobody reads any more, so that it does not become an output of the written network.

    ONNX models and GE graphs list their outputs: there is nothing to keep quiet.
    """
    producer = value.producer
    if producer.dialect in (ONNX, GE):
        return
    name = graph.unused_name(f"{producer.name}_silence")
    node = graph.add(name, "caffe.Silence", [value], [], provenance=Provenance(inserted=True), beside=producer)
    node.record(by, f"keeps `{value.blob}`, which no layer needs, from being an output")


def layers(nodes: Sequence[Node]) -> str:
    """Some layers in a sentence."""
    return ", ".join(f"{node.type} `{node.name}`" for node in nodes)
