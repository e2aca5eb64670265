"""An ONNX file to a graph of the onnx dialect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amctc.diagnostics import Collector, Diagnostic, Level, did_you_mean
from amctc.dialects.onnx.attribute_proto import plain_attribute
from amctc.dialects.onnx.element_types import OPAQUE, type_name
from amctc.dialects.onnx.generic import ONNX, is_known_type
from amctc.dialects.onnx.operands import (
    ABSENT,
    CAPTURES,
    INITIALIZERS,
    OWN_ATTRIBUTES,
    RESULTS,
    capture_role,
    joined_type,
    role_at,
)
from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_def
from amctc.frontends.onnx.ascend import ASCEND_OPS, ascend_node, pools_in_float
from amctc.frontends.onnx.ascend_recurrent import ASCEND_RECURRENT_OPS, as_recurrent, take_grids
from amctc.frontends.onnx.declared import Declared
from amctc.frontends.onnx.fold import MOST_ELEMENTS, folded
from amctc.frontends.onnx.names import NumberedNode, name_nodes, ordered_nodes
from amctc.frontends.onnx.opset import runnable
from amctc.frontends.onnx.read_model import read_model
from amctc.frontends.onnx.shape_values import Sizes, reshape_sizes, sizes_of_node
from amctc.frontends.onnx.tensors import Tensors
from amctc.ir import Graph, Node, Origin, Provenance, Value
from amctc.ir.node import Array
from amctc.text.plain import Plain

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def load_onnx(model: str | Path, collector: Collector | None = None) -> Graph:
    """The graph of an ONNX file of opset 7 or newer.

    Opsets before 13 are brought to 13, functions are inlined, what depends on constants alone is computed, and sizes
    that are computed from shapes are, where the file says enough of these. Nodes keep their names; one without a name
    gets that of its op and its number in the file (`Conv_12`). Constants, wherever they stand, become weights of the
    nodes that read them; those in other files are mapped, not read. Warnings go to `collector`. Raises
    `DiagnosticError` (AM340 to AM348) with what is wrong.
    """
    own = collector if collector is not None else Collector()
    return graph_of_model(read_model(model), str(model), own)


def graph_of_model(model: ModelProto, file: str, collector: Collector) -> Graph:
    """The graph of a model in memory, as `load_onnx` gives it; `file` is what messages call it. `model` may change."""
    name_nodes(model.graph)
    converted = runnable(model, file)
    name_nodes(converted.graph)  # a conversion may have put in some
    graph = _Builder(converted, file, collector).build()
    collector.raise_errors()
    pools_in_float(graph)
    annotate_shapes(graph)
    return graph


MOST_ERRORS = 20
"""After so many mistakes the rest of a file is not looked at."""


class _Builder:
    """Builds the graph of one model; `_values` and `_constants` are what the names of the file stand for."""

    def __init__(self, model: ModelProto, file: str, collector: Collector) -> None:
        self._model = model
        self._file = file
        self._collector = collector
        self._tensors = Tensors(file)
        self._values: dict[str, Value] = {}
        self._constants: dict[str, Array] = {}
        self._sizes: dict[str, Sizes] = {}
        self._opsets: dict[str, int] = {}
        for entry in model.opset_import:
            self._opsets[entry.domain] = max(entry.version, self._opsets.get(entry.domain, 0))
        self._declared = Declared(model, self._opsets)
        self._computes_sizes = any(node.op_type == "Shape" for node in model.graph.node)
        self._unknown: dict[str, list[str]] = {}
        self._whole: list[str] = []
        self._mistakes = 0
        self._room = MOST_ELEMENTS
        self._node_names = {node.name for node in model.graph.node}
        self.graph = Graph(model.graph.name)

    def build(self) -> Graph:
        graph, proto = self.graph, self._model.graph
        graph.attrs = self._graph_attributes()
        for tensor in proto.initializer:
            self._take_name(tensor.name, "two initializers")
            self._constants[tensor.name] = self._tensors.array(tensor)
        if proto.sparse_initializer:
            self._error("AM343", "this model has sparse tensors, which are not read", "store them as dense ones")
        for value in proto.input:
            if value.name not in self._constants:
                self._take_name(value.name, "two inputs")
                self._input(value)
        nodes, circle = ordered_nodes(proto)
        if circle:
            message = f"the node `{circle[0].proto.name}` ({circle[0].proto.op_type}) reads what depends on itself"
            self._error("AM347", message, "the file is damaged")
        for node in nodes:
            self._node(node)
        graph.outputs = [found for value in proto.output if (found := self._output(value.name)) is not None]
        self._remove_unread_sizes()
        if not self._mistakes and not any(op_def(node).source for node in self._read_nodes()):
            message = "no output of this model depends on an input: all of them are constants"
            self._error("AM346", message, "give the model that computes something")
        self._tell()
        return graph

    # -- parts -----------------------------------------------------------------------------------

    def _graph_attributes(self) -> dict[str, Plain]:
        standard = max((v for d, v in self._opsets.items() if d in ("", "ai.onnx")), default=0)
        attrs: dict[str, Plain] = {"opset": standard} if standard else {}
        others = tuple(f"{d} {v}" for d, v in self._opsets.items() if d not in ("", "ai.onnx"))
        if others:
            attrs["imports"] = others
        shapes = tuple(self._declared.plain_shape(value) for value in self._model.graph.output)
        attrs["output_shapes"] = shapes
        if self._model.metadata_props:
            attrs["metadata"] = tuple(f"{entry.key}={entry.value}" for entry in self._model.metadata_props)
        return attrs

    def _input(self, value: Any) -> None:
        kind = value.type.WhichOneof("value")
        dtype = type_name(value.type.tensor_type.elem_type) if kind == "tensor_type" else OPAQUE
        if dtype in (OPAQUE, "string") or dtype.startswith("complex"):
            what = "texts" if dtype == "string" else (dtype if dtype != OPAQUE else str(kind).replace("_type", "s"))
            message = f"the input `{value.name}` takes {what}, which cannot be fed"
            self._error("AM345", message, "give a model whose inputs are tensors of numbers")
            return
        attrs: dict[str, Plain] = {"dtype": dtype}
        if value.type.tensor_type.HasField("shape"):
            attrs["shape"] = self._declared.plain_shape(value)
        # Layers keep their names; an input is known by that of its value.
        wanted = f"{value.name}_input" if value.name in self._node_names else value.name or "input"
        name = self.graph.unused_name(wanted)
        node = self.graph.add(name, f"{ONNX}.Input", (), [value.name], attrs=attrs, provenance=self._origin(0))
        node.output.dtype = dtype
        self._values[value.name] = node.output

    def _origin(self, number: int) -> Provenance:
        return Provenance(Origin(Path(self._file).name, number))

    def _take_name(self, name: str, what: str) -> None:
        """Tell of a name that stands for two values."""
        if self._is_known(name):
            self._error("AM347", f"the name `{name}` is given to {what}", "the file is damaged")

    def _node(self, node: NumberedNode) -> None:
        proto = node.proto
        while proto.output and not proto.output[-1]:
            proto.output.pop()
        given = [name for name in proto.output if name]
        for name in given:
            self._take_name(name, f"a value of the node `{proto.name}`, and to another one")
        if len(set(given)) < len(given):
            self._error("AM347", f"two outputs of the node `{proto.name}` have one name", "the file is damaged")
        if proto.op_type == "Constant" and proto.domain in ("", "ai.onnx") and proto.output:
            found = self._constant(proto)
            if found is not None:
                self._constants[proto.output[0]] = found
            return
        missing = [name for name in node.reads if not self._is_known(name)]
        if missing:
            message = f"the node `{proto.name}` ({proto.op_type}) reads `{missing[0]}`, which nothing gives"
            self._error("AM347", message, did_you_mean(missing[0], self._values) or "the file is damaged")
            for name in proto.output:
                self._constants.setdefault(name, np.zeros(0, np.float32))
            return
        if self._computes_sizes:
            self._declared.follow(proto, self._constants, self._sizes)
        if self._sizes_alone(proto):
            return
        made = self._add(node)
        constant = bool(proto.output) and not made.inputs
        arrays = folded(made, proto, self._constants, self._opsets, self._room) if constant else None
        if arrays is not None:
            self._room -= sum(array.size for array in arrays)
            self.graph.remove(made)
            self._constants.update(zip((name for name in proto.output if name), arrays, strict=True))
            return
        self._values.update({name: value for name, value in zip(proto.output, made.outputs, strict=True) if name})
        sizes = sizes_of_node(proto, self._sizes, self._constants)
        if sizes is not None and proto.output:
            self._sizes[proto.output[0]] = sizes

    def _is_known(self, name: str) -> bool:
        return name in self._values or name in self._constants

    def _sizes_alone(self, proto: NodeProto) -> bool:
        """Take in the shape of a value, and what is computed of shapes; whether the result is a constant."""
        if not proto.input or not proto.output:
            return False
        if proto.op_type == "Shape" and not proto.attribute:
            found = self._declared.sizes(proto.input[0])
            if found is not None:
                self._sizes[proto.output[0]] = found
        sizes = self._sizes.get(proto.output[0]) if proto.output else None
        if sizes is None:
            sizes = sizes_of_node(proto, self._sizes, self._constants)
        if sizes is None or proto.op_type not in ("Shape", "Concat", "Slice") or not _numbers(sizes):
            return False
        self._constants[proto.output[0]] = np.array(sizes, np.int64)
        return True

    def _add(self, numbered: NumberedNode) -> Node:
        original, captured = numbered.proto, numbered.captured
        proto = as_recurrent(original) if original.op_type in ASCEND_RECURRENT_OPS else original
        type = joined_type(proto.domain, proto.op_type)
        # Ours have names that no op of ONNX or of ONNX Runtime has for its own.
        attrs = {each.name: plain_attribute(each) for each in proto.attribute if each.name not in OWN_ATTRIBUTES}
        weights: dict[str, Array] = {}
        stored: dict[str, Plain] = {}
        inputs: list[Value] = []
        absent: list[Plain] = []
        if type in ASCEND_OPS and proto.input and proto.input[0] in self._constants:
            self._as_value(proto.input[0])  # what is quantized is data, whether or not it changes
        for position, name in enumerate(proto.input):
            if not name:
                absent.append(position)
            elif name in self._values:
                inputs.append(self._values[name])
            else:
                role = role_at(type, position)
                weights[role], stored[role] = self._constants[name], name
        if proto.op_type == "Reshape" and not proto.domain and len(proto.input) > 1:
            self._plain_sizes(proto, inputs, weights, attrs)
        if absent and inputs and any(name in self._values for name in proto.input[int(str(absent[0])) :]):
            attrs[ABSENT] = tuple(absent)
        if captured:
            attrs[CAPTURES] = captured
            self._whole.append(proto.name)
        for index, name in enumerate(captured):
            if name in self._values:
                inputs.append(self._values[name])
            else:
                weights[capture_role(index)] = self._constants[name]
        if stored:
            attrs[INITIALIZERS] = stored
        if type in ASCEND_OPS:
            node = ascend_node(self.graph, proto, inputs, weights, attrs, self._origin(numbered.number + 1))
            self._take_types(node, proto)
            return node
        op = f"{ONNX}.{type}"
        name = self.graph.unused_name(proto.name)
        origin = self._origin(numbered.number + 1)
        blobs = [blob or f"{name}:{index}" for index, blob in enumerate(proto.output)]
        node = self.graph.add(name, op, inputs, blobs, attrs=attrs, weights=weights, provenance=origin)
        if proto is not original:
            said = {each.name: plain_attribute(each) for each in original.attribute}
            take_grids(node, original, said, self._constants)
        self._take_types(node, proto)
        return node

    def _plain_sizes(
        self, proto: NodeProto, inputs: list[Value], weights: dict[str, Array], attrs: Mapping[str, Plain]
    ) -> None:
        """Let a Reshape whose sizes are computed from shapes have plain sizes, if the file says enough."""
        sizes = self._sizes.get(proto.input[1])
        if sizes is None or len(inputs) != 2 or attrs.get("allowzero"):
            return
        found = reshape_sizes(sizes, self._declared.sizes(proto.input[0]))
        if found is not None:
            inputs.pop()
            weights[role_at("Reshape", 1)] = found

    def _take_types(self, node: Node, proto: NodeProto) -> None:
        """Note the element types that the file gives where the node alone does not tell them."""
        if node.dialect == ONNX and not is_known_type(node.type):
            self._unknown.setdefault(node.type, []).append(node.name)
        found = op_def(node).output_dtypes(node)
        if OPAQUE in found:
            said = tuple(self._declared.dtype(name) for name in proto.output)
            foreign = "float32" if not is_known_type(node.type) else OPAQUE
            found = tuple(a if a != OPAQUE else (b or foreign) for a, b in zip(found, said, strict=True))
            node.attrs[RESULTS] = found
        for value, dtype in zip(node.outputs, found, strict=True):
            value.dtype = dtype

    def _constant(self, proto: NodeProto) -> Array | None:
        for each in proto.attribute:
            match each.name:
                case "value":
                    return self._tensors.array(each.t, proto.output[0])
                case "value_float":
                    return np.array(each.f, np.float32)
                case "value_floats":
                    return np.array(each.floats, np.float32)
                case "value_int":
                    return np.array(each.i, np.int64)
                case "value_ints":
                    return np.array(each.ints, np.int64)
                case _:
                    self._error("AM343", f"the constant `{proto.name}` holds texts or is sparse, which is not read")
        return None

    def _output(self, name: str) -> Value | None:
        if name in self._values:
            return self._values[name]
        if name in self._constants:
            return self._as_value(name)
        self._error(
            "AM347", f"the graph has the output `{name}`, which nothing gives", did_you_mean(name, self._values)
        )
        return None

    def _as_value(self, name: str) -> Value:
        """A constant as a node of its own."""
        weights = {"value": self._constants[name]}
        taken = self.graph.unused_name(name or "constant")
        node = self.graph.add(taken, f"{ONNX}.Constant", (), [name], weights=weights, provenance=self._origin(0))
        node.output.dtype = weights["value"].dtype.name
        self._values[name] = node.output
        return node.output

    # -- afterwards ------------------------------------------------------------------------------

    def _remove_unread_sizes(self) -> None:
        """Take out what only computed sizes that are numbers now."""
        for node in reversed(self.graph.nodes):
            sized = any(value.blob in self._sizes for value in node.outputs)
            unread = not any(self.graph.uses(value) or self.graph.is_output(value) for value in node.outputs)
            if sized and unread:
                self.graph.remove(node)

    def _read_nodes(self) -> list[Node]:
        found: dict[Node, None] = {}
        waiting = [value.producer for value in self.graph.outputs]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = None
                waiting.extend(value.producer for value in node.inputs)
        return list(found)

    def _tell(self) -> None:
        for type, names in self._unknown.items():
            domain = ".".join(type.split(".")[:-1]) or "the standard one"
            message = f"{_some(names)} of type `{type}`: no such op is known, so it is kept as it is, in float"
            help = f"to run the model, register a host op for `{ONNX}.{type}`; the domain is {domain}"
            self._warn(message, help)
        if self._whole:
            message = f"{_some(self._whole)} with graphs inside: what is in them stays float"
            self._warn(message, None)

    def _warn(self, message: str, help: str | None) -> None:
        self._collector.add(Diagnostic("AM348", message, Level.WARNING, file=self._file, help=help))

    def _error(self, code: str, message: str, help: str | None = None) -> None:
        self._collector.add(Diagnostic(code, message, file=self._file, help=help))
        self._mistakes += 1
        if self._mistakes >= MOST_ERRORS:
            self._collector.raise_errors()


def _numbers(sizes: Sizes) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"node{'s' if len(names) > 1 else ''} {shown}{more}"
