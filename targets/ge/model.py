"""A graph of the ge dialect, with the quant dialect in it, as a ModelDef."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amctc.air.plain_messages import attribute_message, fill_message
from amctc.air.schema import ModelDef, OpDef, new
from amctc.air.tensors import make_tensor
from amctc.air.verify import MODEL_ATTRIBUTES
from amctc.dialects.ge import GE
from amctc.dialects.ge.prototype import port_names, prototype_of, prototypes
from amctc.dialects.ge.slots import about, operands, slot_names, slot_of
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array
from amctc.targets.ge.ascend import QUANT_RULES, AscendForm
from amctc.targets.ge.controls import controls_of
from amctc.targets.ge.layouts import ND, value_layout, weight_layout
from amctc.targets.ge.op_message import Slot, Tensor, op_message
from amctc.targets.ge.weight_quant import ATTRIBUTES, TYPE, WeightQuant, weight_quant_of
from amctc.text.plain import Plain

_ANY_RANK = (-2,)


def model_message(graph: Graph, form: AscendForm) -> ModelDef:
    """The message of a graph. Ops, constants and edges keep the names that they came with."""
    return _Writer(graph, form).write()


class _Writer:
    """Writes one graph; `_constants` are the names of the Const ops written so far, by what they hold."""

    def __init__(self, graph: Graph, form: AscendForm) -> None:
        self._graph = graph
        self._form = form
        self._ops: list[OpDef] = []
        self._taken = {node.name for node in graph.nodes}
        self._controls = controls_of(graph, _constant_names(graph))
        # A constant may be an input of ops, and fill slots of others.
        self._constants: dict[tuple[str, int], str] = {
            (node.name, id(node.weights["value"])): node.name for node in graph.nodes if node.op == f"{GE}.Const"
        }
        self._held: list[Array] = []
        self._weight_quants: dict[tuple[str, str], str] = {}
        self._data = 0

    def write(self) -> ModelDef:
        graph = self._graph
        for node in graph.nodes:
            self._node(node)
        outputs = [_edge(value) for value in graph.outputs]
        self._net_output(outputs)
        model = new("ModelDef")
        for key, value in MODEL_ATTRIBUTES.items():
            model.attr[key].CopyFrom(attribute_message(value))
        root = model.graph.add()
        rest = graph.attrs.get("graph")
        fill_message(root, rest if isinstance(rest, dict) else {})
        root.name = graph.name or "graph"
        if not isinstance(rest, dict):
            root.input.extend(f"{op.name}:0" for op in self._ops if op.type == "Data")
        root.output.extend(outputs)
        root.op.extend(_numbered(self._ops))
        subgraphs = graph.attrs.get("subgraphs")
        for subgraph in subgraphs if isinstance(subgraphs, tuple) else ():
            fill_message(model.graph.add(), subgraph if isinstance(subgraph, dict) else {})
        return model

    # -- ops -------------------------------------------------------------------------------------

    def _node(self, node: Node) -> None:
        if node.op == f"{GE}.Const":
            self._constant_op(node.name, node.weights["value"], ND, _rest(about(node)))
            return
        if node.op in QUANT_RULES:
            written = QUANT_RULES[node.op](node, self._form)
            slots = [
                _value_slot(name, given)
                if isinstance(given, Value)
                else self._constant(node, name, name, given, f"{node.name}_{name}")
                for name, given in written.inputs
            ]
            self._write(node, written.type, slots, written.attributes, written.outputs)
            return
        slots = [self._slot(node, name, each) for name, each in zip(slot_names(node), operands(node), strict=True)]
        attributes = {key: value for key, value in node.attrs.items() if key != "air"}
        if node.type == "Data":
            if _rest(about(node)) is None:
                attributes.setdefault("index", self._data)
            self._data += 1
            slots = [Slot(slots[0].name, "", _data_tensor(node))]
        self._write(node, node.type, slots, attributes, _output_names(node))

    def _write(
        self,
        node: Node,
        type: str,
        slots: Sequence[Slot],
        attributes: Mapping[str, Plain],
        outputs: Sequence[str],
    ) -> None:
        describe = (lambda _: _data_tensor(node)) if node.type == "Data" else _tensor
        pairs = [(name, describe(value)) for name, value in zip(outputs, node.outputs, strict=True)]
        controls = self._controls.get(node.name, ())
        self._ops.append(op_message(node.name, type, slots, pairs, attributes, controls, _rest(about(node))))

    def _slot(self, node: Node, name: str, operand: Value | str | None) -> Slot:
        if operand is None:
            return Slot(name)
        if isinstance(operand, Value):
            return _value_slot(name, operand)
        array = node.weights[operand]
        slot = self._constant(node, name, operand, array, f"{node.name}_{slot_of(node.type, operand)}")
        quant = weight_quant_of(node, operand, self._form)
        return slot if quant is None else self._weight_quant(slot, quant)

    def _weight_quant(self, slot: Slot, quant: WeightQuant) -> Slot:
        """The op behind a constant, which fills the slot in its place; one that several ops read is written once."""
        key = (quant.name, slot.edge)
        if slot.tensor is None or key in self._weight_quants:
            return Slot(slot.name, self._weight_quants.get(key, slot.edge), slot.tensor)
        name, offset_name = self._free(quant.name), self._free(quant.offset_name)
        offset = Tensor(quant.offset.shape, quant.offset.dtype.name, ND)
        self._constant_op(offset_name, quant.offset, ND, quant.offset_rest)
        slots = [Slot("x", slot.edge, slot.tensor, constant=True), Slot("offset", f"{offset_name}:0", offset, True)]
        self._ops.append(op_message(name, TYPE, slots, [("y", slot.tensor)], ATTRIBUTES, (), quant.rest))
        self._weight_quants[key] = f"{name}:0"
        return Slot(slot.name, f"{name}:0", slot.tensor)

    # -- constants -------------------------------------------------------------------------------

    def _constant(self, node: Node, slot: str, role: str, array: Array, wanted: str) -> Slot:
        """A slot that a Const op fills; several that hold one array under one name share the op."""
        known = about(node).get("constants")
        entry = known.get(role) if isinstance(known, dict) else None
        stated = entry if isinstance(entry, dict) else {}
        layout = weight_layout(node, slot)
        name = str(stated.get("name") or wanted)
        key = (name, id(array))
        if key not in self._constants:
            self._held.append(array)
            self._constants[key] = self._free(name)
            self._constant_op(self._constants[key], array, layout, _rest(stated))
        return Slot(slot, f"{self._constants[key]}:0", Tensor(array.shape, array.dtype.name, layout), constant=True)

    def _constant_op(self, name: str, array: Array, layout: str, rest: Mapping[str, Plain] | None) -> None:
        tensor = make_tensor(array, layout)
        described = Tensor(array.shape, array.dtype.name, layout)
        op = op_message(name, "Const", (), [("y", described)], {}, (), rest)
        held = op.attr["value"].t
        if (held.desc.dtype, held.desc.shape) != (tensor.desc.dtype, tensor.desc.shape):
            held.desc.CopyFrom(tensor.desc)
        held.data = tensor.data
        self._ops.append(op)

    def _free(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def _net_output(self, outputs: Sequence[str]) -> None:
        stated = self._graph.attrs.get("net_output")
        if not isinstance(stated, dict):
            return
        names = _texts(stated.get("slots"))
        if len(names) != len(outputs):
            names = port_names(prototypes()["NetOutput"].inputs, len(outputs))
        pairs = zip(names, outputs, self._graph.outputs, strict=True)
        slots = [Slot(name, edge, _tensor(value)) for name, edge, value in pairs]
        attributes = stated.get("attrs")
        given = attributes if isinstance(attributes, dict) else {}
        self._ops.append(op_message(str(stated["name"]), "NetOutput", slots, (), given, (), _rest(stated)))


def _numbered(ops: Sequence[OpDef]) -> Sequence[OpDef]:
    """The ops in the order of their own numbers where these are of one file; else numbered as they stand."""
    numbers = [op.id for op in ops]
    if sorted(numbers) == list(range(len(ops))):
        return sorted(ops, key=lambda op: int(op.id))
    for number, op in enumerate(ops):
        op.id = number
    return ops


def _value_slot(name: str, value: Value) -> Slot:
    return Slot(name, _edge(value), _tensor(value), constant=value.producer.op == f"{GE}.Const")


def _constant_names(graph: Graph) -> frozenset[str]:
    """The names that the Const ops of the weights have in the file that the graph came from."""
    known = (about(node).get("constants") for node in graph.nodes)
    entries = (entry for found in known if isinstance(found, dict) for entry in found.values())
    return frozenset(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry)


def _edge(value: Value) -> str:
    return f"{value.producer.name}:{value.index}"


def _tensor(value: Value) -> Tensor:
    return Tensor(value.shape, value.dtype, value_layout(value))


def _data_tensor(node: Node) -> Tensor:
    """An input of the graph: as it is declared, sizes that are left open among them."""
    declared = about(node).get("shape")
    sizes = tuple(size for size in declared if isinstance(size, int)) if isinstance(declared, tuple) else None
    value = node.output
    return Tensor(None if sizes == _ANY_RANK else sizes, value.dtype, value_layout(value))


def _rest(stated: Mapping[str, Plain]) -> Mapping[str, Plain] | None:
    found = stated.get("op")
    return found if isinstance(found, dict) else None


def _texts(value: Plain | None) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _output_names(node: Node) -> tuple[str, ...]:
    stated = _texts(about(node).get("outputs"))
    if len(stated) == len(node.outputs):
        return stated
    prototype = prototype_of(node.type)
    return port_names(prototype.outputs if prototype is not None else (), len(node.outputs))
