"""A GE graph file to a graph of the ge dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from amctc.air.data_types import UNDEFINED
from amctc.air.descriptors import dtype_of, format_of, shape_of, type_name
from amctc.air.files import read_air
from amctc.air.plain_messages import plain_attribute, plain_message
from amctc.air.schema import GraphDef, ModelDef, OpDef, TensorDescriptor, new
from amctc.air.tensors import tensor_array
from amctc.air.text_dump import is_text_dump, read_text_dump
from amctc.air.verify import verify_air
from amctc.air.verify.names import names_of
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level
from amctc.dialects.ge import GE
from amctc.dialects.ge.prototype import Prototype, is_dynamic, port_names, prototype_of
from amctc.dialects.ge.slots import AIR, NCHW, NHWC, role_of
from amctc.dialects.shapes import annotate_shapes, node_error
from amctc.dialects.table import op_table
from amctc.frontends.ge.ascend import ASCEND_OPS, WEIGHT_QUANT, ascend_node, find_channels, weight_quant
from amctc.frontends.ge.edges import OpEdges, edges_of, ordered, parse_end
from amctc.ir import Graph, Node, Origin, Provenance, Value
from amctc.ir.node import Array
from amctc.text.plain import Plain

OF_THE_MODEL = "AM362"
CONSTANTS = frozenset({"Const", "Constant"})
_PRIVATE = "_"
_IS_CONST = "is_input_const"
_DATA = "x"
"""What GE calls the data of most ops."""
_INDEX_LISTS = ("_input_name_key", "_input_name_value", "_output_name_key", "_output_name_value", "_opt_input")


def load_ge(model: str | Path, collector: Collector | None = None) -> Graph:
    """The graph of a `.air` file, or of a text dump of one.

    Const nodes become weights of the nodes that read them. What GE's own readers refuse, or change without a word, is
    refused (see `amctc verify-ge`); ops that are not known are kept as they are. Warnings go to `collector`. Raises
    `DiagnosticError`.
    """
    own = collector if collector is not None else Collector()
    message = read_text_dump(model) if is_text_dump(model) else read_air(model)
    return graph_of_model(message, str(model), own)


def graph_of_model(model: ModelDef, file: str, collector: Collector) -> Graph:
    """The graph of a message that came from a file; else as `load_ge`."""
    for found in verify_air(model, file):
        # What is said of the model as a whole, readers drop; it makes no graph another one.
        collector.add(replace(found, level=Level.WARNING) if found.code == OF_THE_MODEL else found)
    collector.raise_errors()
    graph = _Builder(model, file, collector).build()
    collector.raise_errors()
    annotate_shapes(graph)
    find_channels(graph)
    return graph


class _Builder:
    """Builds the graph of one model; `_values` are the outputs of its nodes, `_constants` its Const ops, by name."""

    def __init__(self, model: ModelDef, file: str, collector: Collector) -> None:
        self._model = model
        self._file = file
        self._collector = collector
        self._root: GraphDef = model.graph[0]
        self._edges: Mapping[str, OpEdges] = {op.name: edges_of(op) for op in self._root.op}
        self._values: dict[tuple[str, int], Value] = {}
        self._constants: dict[str, OpDef] = {}
        self._arrays: dict[str, Array] = {}
        self._unknown: dict[str, list[str]] = {}
        self.graph = Graph(self._root.name)

    def build(self) -> Graph:
        graph, root = self.graph, self._root
        graph.attrs = self._graph_attributes()
        net_output: OpDef | None = None
        ops, loop = ordered(root, self._edges)
        if loop:
            message = f"the op `{loop[0].name}` ({loop[0].type}) is in a loop, or behind one"
            help = "graphs with loops are not read; take the part without them"
            raise DiagnosticError(Diagnostic("AM354", message, file=self._file, help=help))
        for number, op in enumerate(ops):
            if op.type in CONSTANTS and not op.input:
                self._constants[op.name] = op
                self._arrays[op.name] = tensor_array(op.attr["value"].t)
            elif op.type == "NetOutput":
                net_output = op
            else:
                self._node(op, number)
        if net_output is not None:
            names = _slot_names(net_output, prototype_of("NetOutput"))
            attrs = _attributes(net_output, prototype_of("NetOutput"))
            graph.attrs["net_output"] = {
                "name": net_output.name,
                "slots": names,
                "attrs": attrs,
                "op": _rest(net_output),
            }
        graph.outputs = [self._output(text) for text in self._output_texts(net_output)]
        self._remove_weight_quants()
        self._tell()
        return graph

    # -- the graph -------------------------------------------------------------------------------

    def _graph_attributes(self) -> dict[str, Plain]:
        """What the file says of its first graph beside the ops, and the other graphs. Of a model GE keeps nothing."""
        found: dict[str, Plain] = {}
        rest = new("GraphDef")
        rest.CopyFrom(self._root)
        for name in ("name", "op", "output"):
            rest.ClearField(name)
        found["graph"] = plain_message(rest)
        if len(self._model.graph) > 1:
            found["subgraphs"] = tuple(plain_message(graph) for graph in self._model.graph[1:])
        return found

    def _output_texts(self, net_output: OpDef | None) -> tuple[str, ...]:
        if self._root.output or net_output is None:
            return tuple(self._root.output)
        return tuple(text for text in net_output.input if text and not text.endswith(":-1"))

    def _output(self, text: str) -> Value:
        end = parse_end(text)
        return self._value(end.node, end.index)

    def _value(self, name: str, output: int) -> Value:
        """An output of an op; a constant that is asked for becomes a node."""
        if name in self._constants and (name, output) not in self._values:
            op = self._constants[name]
            attrs: dict[str, Plain] = {AIR: {"op": _rest(op)}}
            weights = {"value": self._arrays[name]}
            node = self.graph.add(name, f"{GE}.Const", (), [name], attrs=attrs, weights=weights)
            self._values[name, 0] = node.output
        return self._values[name, output]

    # -- nodes -----------------------------------------------------------------------------------

    def _node(self, op: OpDef, number: int) -> None:
        graph, prototype = self.graph, prototype_of(op.type)
        provenance = Provenance(Origin(Path(self._file).name, number))
        inputs: list[Value] = []
        weights: dict[str, Array] = {}
        constants: dict[str, Plain] = {}
        absent: list[int] = []
        slots = _slot_names(op, prototype)
        edges = self._edges[op.name]
        for position, edge in enumerate(edges.slots):
            if edge is None:
                absent.append(position)
                continue
            found = weight_quant(edge, self._values, graph)
            name = edge.node if found is None else found.constant
            if name in self._constants and slots and not _is_data(op, prototype, slots[position]):
                role = role_of(op.type, slots[position])
                weights[role] = self._arrays[name]
                entry: dict[str, Plain] = {"name": name, "op": _rest(self._constants[name])}
                constants[role] = entry if found is None else {**entry, "quant": dict(found.stated)}
            else:
                inputs.append(self._value(edge.node, edge.index))
        air = _about(op, slots, prototype, edges, absent, constants)
        if op.type in ASCEND_OPS:
            made = ascend_node(graph, op, inputs, weights, air, provenance)
        else:
            outputs = [op.name if not index else f"{op.name}:{index}" for index in range(len(op.output_desc))]
            attrs: dict[str, Plain] = {**_attributes(op, prototype), AIR: air}
            made = graph.add(
                op.name, f"{GE}.{op.type}", inputs, outputs, attrs=attrs, weights=weights, provenance=provenance
            )
        self._values.update({(op.name, value.index): value for value in made.outputs})
        if made.dialect == GE and made.op not in op_table():
            self._unknown.setdefault(op.type, []).append(op.name)

    def _remove_weight_quants(self) -> None:
        """What they do is in the weights of their readers."""
        for node in self.graph.nodes:
            if node.type == WEIGHT_QUANT and not self.graph.uses(node.output) and not self.graph.is_output(node.output):
                self.graph.remove(node)

    def _tell(self) -> None:
        for all_names in self._unknown.values():
            names = [name for name in all_names if name in self.graph]
            if not names:
                continue
            node = self.graph.node(names[0])
            more = f" (and {len(names) - 1} more of this type)" if len(names) > 1 else ""
            message = f"this op is not known, so it is kept as it is and cannot be run{more}"
            self._collector.add(_warning("AM352", node, message))


def _warning(code: str, node: Node, message: str) -> Diagnostic:
    found = node_error(code, node, message)
    return Diagnostic(code, found.message, Level.WARNING, file=found.file, help=found.help)


def _slot_names(op: OpDef, prototype: Prototype | None) -> tuple[str, ...]:
    """The names of an op's slots: those of its name-index lists, or else those of its prototype."""
    count = max(len(op.input_desc), len(edges_of(op).slots))
    stated = _indexed(op, "input", count)
    if stated is not None:
        return stated
    return port_names(prototype.inputs if prototype is not None else (), count)


def _is_data(op: OpDef, prototype: Prototype | None, slot: str) -> bool:
    """Whether a constant in a slot stays a value: as the data of the op, or as one of any number of like inputs."""
    return op.type != WEIGHT_QUANT and (slot == _DATA or is_dynamic(prototype, slot))


def _indexed(op: OpDef, end: str, count: int) -> tuple[str, ...] | None:
    """The names of the `input` or `output` slots in the name-index lists; None if not every slot has one."""
    named = {place: name for name, place in names_of(op, end).items()}
    return tuple(named[place] for place in range(count)) if named.keys() == set(range(count)) else None


def _about(
    op: OpDef,
    slots: tuple[str, ...],
    prototype: Prototype | None,
    edges: OpEdges,
    absent: list[int],
    constants: Mapping[str, Plain],
) -> dict[str, Plain]:
    """The attribute `air` of a node (see `amctc.dialects.ge.slots`)."""
    air: dict[str, Plain] = {}
    layout = _data_format(op, prototype)
    if layout != NCHW:
        air["format"] = layout
    filter_layout = _filter_format(op, slots, layout)
    if filter_layout != NCHW:
        air["filter_format"] = filter_layout
    if prototype is None or slots != port_names(prototype.inputs, len(slots)):
        air["slots"] = slots
    outputs = _indexed(op, "output", len(op.output_desc))
    if outputs is not None and (prototype is None or outputs != port_names(prototype.outputs, len(outputs))):
        air["outputs"] = outputs
    last = max((index for index, edge in enumerate(edges.slots) if edge is not None), default=-1)
    before = tuple(position for position in absent if position < last)
    if before:
        air["absent"] = before
    if constants:
        air["constants"] = dict(constants)
    if edges.controls:
        air["controls"] = edges.controls
    if op.type == "Data":
        descriptor = op.output_desc[0] if op.output_desc else new("TensorDescriptor")
        air |= {"shape": shape_of(descriptor), "dtype": _data_dtype(op, descriptor)}
    air["op"] = _rest(op)
    return air


def _data_dtype(op: OpDef, descriptor: TensorDescriptor) -> str:
    found = dtype_of(descriptor)
    if found is None:
        kind = type_name(descriptor)
        reason = "has no element type" if kind in (None, UNDEFINED) else f"takes {kind}, which is not supported"
        raise DiagnosticError(Diagnostic("AM351", f"the input `{op.name}` {reason}", help="give it another type"))
    return found


def _attributes(op: OpDef, prototype: Prototype | None) -> dict[str, Plain]:
    """The attributes that say what an op computes."""
    known = prototype.attributes if prototype is not None else {}
    return {
        name: plain_attribute(op.attr[name], known[name].type if name in known else None)
        for name in sorted(op.attr)
        if not name.startswith(_PRIVATE) and name not in (_IS_CONST, AIR)
    }


def _rest(op: OpDef) -> dict[str, Plain]:
    """What a message says beyond name, type, edges and the attributes that a node has: what is written again."""
    rest = new("OpDef")
    rest.CopyFrom(op)
    for name in ("name", "type", "input"):
        rest.ClearField(name)
    for name in list(rest.attr):
        kept = name.startswith(_PRIVATE) or name in (_IS_CONST, AIR)
        if name in _INDEX_LISTS or not kept:
            if name == "value" and op.type in CONSTANTS:
                rest.attr[name].t.data = b""
            else:
                del rest.attr[name]
    return plain_message(rest)


def _data_format(op: OpDef, prototype: Prototype | None) -> str:
    """The layout of an op's data: that of its first input, or else what the op says itself, or else NCHW."""
    for descriptor in (*op.input_desc[:1], *op.output_desc[:1]):
        layout = format_of(descriptor)
        if layout in (NCHW, NHWC):
            return layout
    if prototype is not None and "data_format" in prototype.attributes and "data_format" in op.attr:
        stated = op.attr["data_format"].s
        if stated in (b"NCHW", b"NHWC"):
            return str(stated.decode())
    return NCHW


def _filter_format(op: OpDef, slots: tuple[str, ...], layout: str) -> str:
    if "filter" not in slots or slots.index("filter") >= len(op.input_desc):
        return NCHW
    stated = format_of(op.input_desc[slots.index("filter")])
    if stated in (NCHW, NHWC, "HWCN"):
        return stated
    return NCHW if layout == NCHW else "HWCN"
