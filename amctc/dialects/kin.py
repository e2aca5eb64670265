"""The kin of a node: a layer of another dialect that computes the same, so that what is known of it is not said twice.

GE took most of its ops from Caffe and ONNX. A row of such a dialect says which layer a node is like and how its
parameters read there. Shapes, arithmetic and most traits follow from that layer's own row; the runtime runs the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from amctc.dialects.custom import CAFFE
from amctc.dialects.op import OpDef, OpError
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Array, Shape
from amctc.text.plain import Plain

_SOURCE = "onnx.Input"
FLOAT, HALF = "float32", "float16"
_WIDE = (FLOAT, "int8")
"""Element types of weights beside which float16 data count as float32; integers stand for floats here."""
OPSET = 17
"""The opset of kin in ONNX's words."""


class NoKin(Exception):
    """Why no layer computes what a node does: what comes behind "layer `x` (Op): "."""


@dataclass(frozen=True)
class Kin:
    """A layer in the words of its own dialect.

    `inputs` are numbers of the node's inputs, in the layer's order (None: all of them). `outputs` says which output of
    the node each output of the layer is. With `moved` the layer's first input and its outputs lie as NCHW, and those of
    the node as NHWC. `unread` gives the shapes of outputs of the node that the layer has not, for those of its own; the
    node has them only as GE declares them, and nothing reads them. `dtypes` are element types of outputs of the node,
    by number, where they are others than the layer's. `shaped` gives weights that depend on the shape of the layer's
    first input (None: not known, where only the element types are asked for).
    """

    op: str
    attrs: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    weights: Mapping[str, Array] = field(default_factory=dict[str, Array])
    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] = (0,)
    moved: bool = False
    unread: Callable[[tuple[Shape, ...]], Mapping[int, Shape]] = lambda shapes: {}
    dtypes: Mapping[int, str] = field(default_factory=dict[int, str])
    shaped: Callable[[Shape | None], Mapping[str, Array]] | None = None


@dataclass(frozen=True)
class Relation:
    """The kin of one node, made: a node of a small graph of its own, whose inputs stand for those of the first.

    `inputs` are the numbers of the first node's inputs that they stand for; the others are as in `Kin`.
    """

    node: Node
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    moved: bool
    unread: Callable[[tuple[Shape, ...]], Mapping[int, Shape]]
    dtypes: Mapping[int, str]


def kin_of(node: Node, shapes: Sequence[Shape | None] | None = None) -> Relation:
    """The kin of a node for inputs of these shapes (by default those that its values have).

    Raises `NoKin` where it has none, and `OpError` where its own parameters are wrong.
    """
    likeness = op_def(node).likeness
    if likeness is None:
        raise NoKin("cannot be run: nothing here computes ops of this type")
    kin = likeness.kin(node)
    graph = Graph(node.graph.name)
    graph.attrs["opset"] = OPSET
    values = node.inputs
    known = [value.shape for value in values] if shapes is None else list(shapes)
    chosen = tuple(range(len(values))) if kin.inputs is None else kin.inputs
    sources: list[Value] = []
    for place, index in enumerate(chosen):
        shape = known[index]
        if shape is not None and kin.moved and not place:
            shape = to_nchw(shape)
        sources.append(_source(graph, f"{node.name}<{place}", values[index], shape))
    names = [f"{node.name}:{place}" if place else node.name for place in range(len(kin.outputs))]
    weights = kin.weights if kin.shaped is None else {**kin.weights, **kin.shaped(sources[0].shape)}
    made = graph.add(node.name, kin.op, sources, names, attrs=kin.attrs, weights=weights, provenance=node.provenance)
    made.quant = node.quant
    row = op_def(made)
    if not row.inputs.allows(len(sources)):
        raise OpError(f"must read {row.inputs} values, not {len(sources)}")
    for source in made.inputs:
        source.dtype = FLOAT if source.dtype in _as_floats(made, row) else source.dtype
    # In float32 it may be of another variant of its op: one that is linear.
    for value, dtype in zip(made.outputs, op_def(made).output_dtypes(made), strict=True):
        value.dtype = dtype
    return Relation(made, chosen, kin.outputs, kin.moved, kin.unread, kin.dtypes)


def _as_floats(kin: Node, row: OpDef) -> tuple[str, ...]:
    """The element types that a layer takes as float32: of Caffe's, numbers of things too, if it gives floats only."""
    if not _computes_in_float(kin):
        return ()
    return (HALF, "int32", "int64") if kin.dialect == CAFFE and row.dtypes is None else (HALF,)


def result_dtype(node: Node, relation: Relation, made: Value) -> str:
    """The element type of the node's output that `made` stands for: halves of halves, though computed in float32."""
    stated = relation.dtypes.get(relation.outputs[made.index])
    if stated is not None:
        return stated
    halves = any(node.inputs[index].dtype == HALF for index in relation.inputs)
    return HALF if halves and made.dtype == FLOAT and _computes_in_float(relation.node) else made.dtype


def _computes_in_float(kin: Node) -> bool:
    """Whether a layer is run in float32 for float16 data: Caffe's layers, and those whose weights are no halves."""
    return kin.dialect == CAFFE or any(array.dtype.name in _WIDE for array in kin.weights.values())


def to_nchw(shape: Shape) -> Shape:
    """A shape of [N, spatial..., C] as [N, C, spatial...]. Raises `OpError` for less than two axes."""
    if len(shape) < 2:
        raise OpError(f"an input of {len(shape)} axes has no layout NHWC")
    return (shape[0], shape[-1], *shape[1:-1])


def to_nhwc(shape: Shape) -> Shape:
    """The inverse of `to_nchw`."""
    return (shape[0], *shape[2:], shape[1])


def to_nchw_axes(rank: int) -> tuple[int, ...]:
    """The order of axes that makes [N, C, spatial...] of [N, spatial..., C]."""
    return (0, rank - 1, *range(1, rank - 1))


def to_nhwc_axes(rank: int) -> tuple[int, ...]:
    """The inverse order."""
    return (0, *range(2, rank), 1)


def _source(graph: Graph, name: str, value: Value, shape: Shape | None) -> Value:
    """A stand-in for an input of the node: of integers that a Quantize gives, that Quantize too."""
    grid = _grid_of(value)
    made = graph.add(name, _SOURCE if grid is None else "quant.Quantize", attrs={} if grid is None else grid.attrs)
    made.output.dtype, made.output.shape = value.dtype, shape
    return made.output


def _grid_of(value: Value) -> Node | None:
    """The Quantize that a value of integers comes from, seen through what only moves elements."""
    if not value.dtype.startswith("int"):
        return None
    node = value.producer
    while node.inputs and (op_def(node).identity or op_def(node).moves_data):
        node = node.inputs[0].producer
    return node if node.op == "quant.Quantize" else None
