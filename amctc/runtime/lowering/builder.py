"""What a lowering rule writes into: ONNX nodes and constants under names that do not clash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.onnx.element_types import CARRIERS, ONNX_TYPES
from amctc.dialects.shapes import node_error
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 17
"""The opset of what our own rules write for graphs that are not ONNX's own."""

SMALLEST_EXTERNAL = 4096
"""Bytes from which on a constant is handed to ONNX Runtime beside the model instead of inside it."""

Attribute: TypeAlias = int | float | str | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class Opsets:
    """In which opsets an ONNX graph is written: that of the standard domain, and those of others by their names."""

    standard: int = OPSET
    others: tuple[tuple[str, int], ...] = ()


def opsets_of(graph: Graph) -> Opsets:
    """The opsets that a graph is lowered in: its own where it came from ONNX."""
    standard, imports = graph.attrs.get("opset"), graph.attrs.get("imports")
    pairs = [str(entry).rpartition(" ") for entry in (imports if isinstance(imports, tuple) else ())]
    others = tuple((domain, int(version)) for domain, _, version in pairs)
    return Opsets(standard if isinstance(standard, int) else OPSET, others)


@dataclass(frozen=True, eq=False)
class _Held:
    """An array that is a constant; held, so that no other array gets its identity."""

    array: Array
    name: str


@dataclass
class Lowering:
    """The ONNX graph of one segment while it is being written.

    `shapes` are those that are known of the values that the segment touches, `dtypes` the types of all. A value goes
    by `Value.name`, made unique where a file has strange layer names.
    """

    shapes: Mapping[Value, Shape]
    dtypes: Mapping[Value, str]
    names: dict[Value, str]
    opsets: Opsets
    linear_operands: LinearOperands
    """Writes the weights of a linear layer on data that are no integers."""
    nodes: list[NodeProto] = field(default_factory=list["NodeProto"])
    constants: dict[str, Array] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)
    _unsigned: dict[Value, str] = field(default_factory=dict)
    _arrays: dict[int, _Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._taken.update(self.names.values())

    def apart(
        self,
        shapes: Mapping[Value, Shape],
        dtypes: Mapping[Value, str],
        names: Mapping[Value, str],
        unsigned: Mapping[Value, str],
    ) -> Lowering:
        """The same ONNX graph, with other values to be read and written: those of a small graph beside the own one."""
        return replace(self, shapes=shapes, dtypes=dtypes, names=dict(names), _unsigned=dict(unsigned))

    # -- reading ---------------------------------------------------------------------------------

    def name(self, value: Value) -> str:
        """The ONNX name of a value."""
        return self.names[value]

    def shape(self, value: Value) -> Shape:
        """The static shape of a value; KeyError where only the data tell it, which our own rules never meet."""
        return self.shapes[value]

    def dtype(self, value: Value) -> str:
        """The element type of a value, by numpy's name."""
        return self.dtypes[value]

    def carrier(self, value: Value) -> str | None:
        """The element type in which a value comes into a session and out of it, where that is another than its own."""
        return CARRIERS.get(self.dtype(value))

    def carried_name(self, value: Value) -> str:
        """The ONNX name of an input or output of the session."""
        return self.name(value) if self.carrier(value) is None else f"{self.name(value)}.carried"

    def inputs(self, node: Node) -> tuple[str, ...]:
        """The ONNX names of a node's inputs."""
        return tuple(self.name(value) for value in node.inputs)

    # -- writing ---------------------------------------------------------------------------------

    def emit(
        self, op_type: str, inputs: Sequence[str], output: str | None = None, node_name: str = "", **attrs: Attribute
    ) -> str:
        """Write a node of one output, named `output` or freshly, and give the output's name."""
        result = output if output is not None else self.fresh(op_type.lower())
        self.emit_many(op_type, inputs, [result], node_name, **attrs)
        return result

    def emit_many(
        self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], node_name: str = "", **attrs: Attribute
    ) -> None:
        """Write a node of several outputs."""
        from onnx import helper

        values: dict[str, Any] = dict(attrs)
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=node_name or None, **values))

    def add(self, node: NodeProto) -> None:
        """Write a node that is one of ONNX's already."""
        self.nodes.append(node)

    def constant(self, array: Array, hint: str) -> str:
        """A constant, kept as the very array where that is contiguous; `hint` becomes its name.

        An array that several layers share is there once, under the name that it was given first.
        """
        held = self._arrays.get(id(array))
        if held is not None:
            return held.name
        name = self.fresh(hint)
        self._arrays[id(array)] = _Held(array, name)
        self.constants[name] = np.asarray(array, order="C")
        return name

    def scalar(self, value: float, hint: str) -> str:
        """A float32 constant of no axes."""
        return self.constant(np.array(value, np.float32), hint)

    def reshape(self, source: str, shape: Shape, output: str | None = None) -> str:
        """`source` under another static shape."""
        target = self.constant(np.array(shape, np.int64), f"{source}.shape")
        # allowzero: a dimension of 0 is a dimension of 0, not "copy".
        return self.emit("Reshape", [source, target], output, allowzero=1)

    def fresh(self, hint: str) -> str:
        """A name that nothing in this graph has."""
        return unused_name(hint, self._taken, self._counts)

    def remember_unsigned(self, value: Value, name: str) -> None:
        """`name` holds an int8 value plus 128 as uint8 (see `unsigned`)."""
        self._unsigned[value] = name

    def unsigned(self, value: Value) -> str:
        """An int8 value plus 128 as uint8, made once for all its readers.

        ONNX Runtime multiplies uint8 by uint8 exactly on every CPU; its uint8 by int8 kernels
        saturate intermediate 16-bit sums where the CPU lacks VNNI.
        """
        if value not in self._unsigned:
            floats = self.emit("Cast", [self.name(value)], to=ONNX_TYPES["float32"])
            shifted = self.emit("Add", [floats, self.scalar(128.0, "shift")])
            self._unsigned[value] = self.emit("Cast", [shifted], to=ONNX_TYPES["uint8"])
        return self._unsigned[value]

    # -- the result ------------------------------------------------------------------------------

    def model(self, inputs: Sequence[Value], outputs: Sequence[Value], external: bool = False) -> ModelProto:
        """The finished model.

        With `external`, constants of SMALLEST_EXTERNAL bytes or more are declared but not held; the
        session is to be given them (`external_constants`).
        """
        from onnx import helper

        apart = self.external_constants() if external else {}
        unpacked = [self._cast(self.carried_name(v), self.name(v), self.dtype(v)) for v in inputs if self.carrier(v)]
        packed = [self._cast(self.name(v), self.carried_name(v), self.carrier(v)) for v in outputs if self.carrier(v)]
        graph = helper.make_graph(
            [*unpacked, *self.nodes, *packed],
            "segment",
            [self._declaration(value) for value in inputs],
            [self._declaration(value) for value in outputs],
            self.initializers(apart),
        )
        known = dict(self.opsets.others)
        others = {node.domain: known.get(node.domain, 1) for node in self.nodes if node.domain} | known
        imports = [("", self.opsets.standard), *others.items()]
        opsets = [helper.make_opsetid(domain, version) for domain, version in imports]
        version = ir_version(self.opsets.standard)
        return helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="amctc")

    def initializers(self, apart: Collection[str] = ()) -> list[TensorProto]:
        """The constants as tensors; those of the names in `apart` are declared only."""
        return [_tensor(name, array, name in apart) for name, array in self.constants.items()]

    def external_constants(self) -> Mapping[str, Array]:
        """The constants that a model made with `external` does not hold."""
        # int64 constants are sizes and indices, which ONNX Runtime wants to see when it infers shapes.
        large = {name: array for name, array in self.constants.items() if array.nbytes >= SMALLEST_EXTERNAL}
        return {name: array for name, array in large.items() if array.dtype.kind in "fiub" and array.dtype != np.int64}

    def _declaration(self, value: Value) -> ValueInfoProto:
        from onnx import ValueInfoProto, helper

        name, dtype = self.carried_name(value), self.carrier(value) or self.dtype(value)
        if dtype not in ONNX_TYPES:  # ONNX Runtime finds out itself
            return ValueInfoProto(name=name)
        return helper.make_tensor_value_info(name, ONNX_TYPES[dtype], self.shapes.get(value))

    def _cast(self, source: str, target: str, dtype: str | None) -> NodeProto:
        from onnx import helper

        return helper.make_node("Cast", [source], [target], to=ONNX_TYPES[dtype or "float32"])


Rule: TypeAlias = Callable[[Lowering, Node], None]
"""Writes the ONNX nodes of one node of the graph."""

LinearOperands: TypeAlias = Callable[[Lowering, Node], list[str]]
"""Writes the weight and, if there is one, the bias of a linear layer, and gives their names."""


def ir_version(opset: int) -> int:
    """The oldest ONNX format that has an opset, but not before that of opset 17."""
    from onnx import helper

    return max(8, helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def weight_of(node: Node, role: str) -> NDArray[Any]:
    """A weight of a node; `DiagnosticError` (AM420) where the layer has none."""
    found = node.weights.get(role)
    if found is None:
        help = "give the weights file too: a layer without weights cannot be run"
        raise DiagnosticError(node_error("AM420", node, f"has no {role}", help))
    return found


def unique_names(values: Sequence[Value]) -> dict[Value, str]:
    """An ONNX name for each value: `Value.name`, numbered where two would be the same or one is empty."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    return {value: unused_name(value.name or "value", taken, counts) for value in values}


def unused_name(wanted: str, taken: set[str], counts: dict[str, int]) -> str:
    """`wanted` or, if that is taken, the next number behind it; `counts` has the last number of each."""
    name, count = wanted, counts.get(wanted, 0)
    while name in taken:
        count += 1
        name = f"{wanted}.{count}"
    taken.add(name)
    counts[wanted] = count
    return name


def _tensor(name: str, array: Array, external: bool) -> TensorProto:
    from onnx import TensorProto, numpy_helper

    if not external:
        return numpy_helper.from_array(array, name)
    tensor = TensorProto(name=name, data_type=ONNX_TYPES[array.dtype.name], dims=array.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="given-to-the-session")
    return tensor
