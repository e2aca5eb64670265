"""What a record says of a graph: whether every layer is there, can be quantized, and has factors that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from amctc.diagnostics import Collector, Diagnostic, Level
from amctc.dialects.ge.slots import as_nchw
from amctc.dialects.op import OpDef
from amctc.dialects.scaling import data_channels
from amctc.dialects.table import op_def, op_table
from amctc.dialects.traits import inner_products, linear_trait, weight_rows
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.policy.layer_types import NARROW_BITS, PACKED_BITS
from amctc.policy.names import Names
from amctc.policy.rules import Policy
from amctc.policy.said import nearest
from amctc.quant.balancing import legal_factors
from amctc.quant.grid import FLT_EPSILON, grid_limits
from amctc.quant.snq_codes import CODE_BITS
from amctc.quant.snq_tables import LEVELS
from amctc.records.depthwise import depthwise_chain
from amctc.records.scale_record import SUFFIX, InputRecord, LayerRecord, ScaleRecord
from amctc.source import Span

_MOST_SUGGESTIONS = 50  # finding the nearest name is slow in a file where every name is wrong
_BITS_D = (8, 16)
_BITS_W = 8
_CLUSTERED = CODE_BITS


def validate(record: ScaleRecord, graph: Graph, collector: Collector | None = None) -> None:
    """Check a record that is to quantize a float graph, on which no pass has run.

    Warnings (AM606) go to `collector`. Raises `DiagnosticError` with every mistake at its place: AM605, AM610 to
    AM622, AM624, AM279 and AM280.
    """
    own = collector if collector is not None else Collector()
    names = Names(Policy(), graph)
    suggestions = 0
    if not any(layer.is_quantized for layer in record.layers):
        help = "write a `record { … }` for each layer that is to be quantized"
        own.add(Diagnostic("AM605", "the record quantizes no layer", file=record.file, help=help))
    for layer in record.layers:
        if layer.name in graph:
            own.extend(_known(layer, graph.node(layer.name), names))
        elif (chain := depthwise_chain(graph, layer.name, layer.object_layer)) is not None:
            row = op_table()["caffe.DepthwiseConv"]
            shapes, channels = (chain.head.inputs[0].shape,), chain.channels
            own.extend(_Check(layer, row, (0,), (1, channels), shapes, channels=channels).problems())
        else:
            suggestions += 1
            near = nearest(layer.name, names.quantizable) if suggestions <= _MOST_SUGGESTIONS else None
            what = _missing_chain(layer, graph) or near
            own.add(Diagnostic("AM610", f"the model has no layer `{layer.name}`", span=layer.span, help=what))
    own.raise_errors()


def layer_problems(layer: LayerRecord, node: Node) -> Iterator[Diagnostic]:
    """What is wrong with an entry for a node whose type can be quantized (AM606, AM612 to AM622, AM279, AM280)."""
    row = op_def(node)
    inputs = row.data_inputs(node)
    optional: tuple[int, ...] = ()
    if row.recurrent is not None:
        state = len(node.inputs)
        # What no output shows, calibration does not see either: it has a range of its own.
        inputs, optional = (*inputs, state), () if row.recurrent.hidden_output is not None else (state,)
    shapes = tuple(as_nchw(node, value.shape) for value in node.inputs)
    found = data_channels(node)
    channels = found if isinstance(found, str) else found[1]
    yield from _Check(layer, row, inputs, _weight_counts(node, row), shapes, optional, channels).problems()


def _known(layer: LayerRecord, node: Node, names: Names) -> Iterator[Diagnostic]:
    if layer.skip_fusion and node.name not in names.fusable:
        message = f"layer `{node.name}` is of type `{node.type}`, which is never fused"
        yield Diagnostic("AM624", message, span=layer.place("skip_fusion"), help="take its `skip_fusion` out")
    if not layer.is_quantized:
        return
    if node.name not in names.quantizable:
        message = f"layer `{node.name}` is of type `{node.type}`, which cannot be quantized"
        yield Diagnostic("AM611", message, span=layer.span, help="`amctc ops` lists the types that can be quantized")
        return
    yield from layer_problems(layer, node)


def _missing_chain(layer: LayerRecord, graph: Graph) -> str | None:
    base = layer.name.removesuffix(SUFFIX)
    if base == layer.name or base not in graph:
        return None
    return f"no depthwise convolution can stand for `{base}`: it must be a BatchNorm, Scale or Bias on a 4-D blob"


def _weight_counts(node: Node, row: OpDef) -> tuple[int, ...]:
    """How many `scale_w` a layer may have; none for a layer without weights."""
    if row.quantizable is None or not row.quantizable.weights:
        return ()
    if row.linear is None:
        products = inner_products(node)
        if not row.quantizable.channel_wise:
            return (len(products),)
        rows = sum(len(weight_rows(node, node.weights[product.weight])) for product in products)
        return (len(products), rows)
    channels = linear_trait(node).out_channels(node)
    return (1, channels) if row.quantizable.channel_wise else (1,)


class _Check:
    """The check of one entry against what its layer has."""

    def __init__(
        self,
        layer: LayerRecord,
        row: OpDef,
        inputs: Sequence[int],
        weight_counts: Sequence[int],
        shapes: Sequence[Shape | None],
        optional: Sequence[int] = (),
        channels: int | str = "its input channels cannot be told apart",
    ) -> None:
        self._layer = layer
        self._channels = channels
        self._type = row.type
        # A Caffe file has no other weights of 4 bits than those on levels, and none of 6 and 7.
        self._uniform = (_BITS_W,) if row.dialect == "caffe" else (*PACKED_BITS, *NARROW_BITS, _BITS_W)
        self._may_cluster = row.linear is not None
        self._inputs = inputs
        self._weight_counts = weight_counts
        self._shapes = shapes
        self._optional = optional

    def problems(self) -> Iterator[Diagnostic]:
        yield from self._weights()
        yield from self._balance()
        if any(self._layer.shift_bit):
            at = next(index for index, bits in enumerate(self._layer.shift_bit) if bits)
            help = "leave `shift_bit` out, or write 0; scales must hold without a shift"
            yield self._problem("AM617", "`shift_bit` is not supported", self._layer.place("shift_bit", at), help)
        for given in self._layer.inputs:
            yield from self._input(given)
        for index in self._inputs:
            if self._layer.input(index) is None and index not in self._optional:
                help = f"add `record_d {{ scale_d: … offset_d: … index: {index} }}`"
                message = f"the record has no `scale_d` and `offset_d` for {self._words(index)}"
                yield self._problem("AM619", message, self._layer.span, help)

    def _weights(self) -> Iterator[Diagnostic]:
        layer = self._layer
        if not self._weight_counts:
            # The manual's own example writes these two for a pooling layer.
            if layer.scale_w not in ((), (1.0,)) or layer.offset_w not in ((), (0,)):
                message = f"has factors for weights, and a {self._type} layer has none that are quantized"
                name = "scale_w" if layer.scale_w else "offset_w"
                yield self._problem("AM621", message, layer.place(name, 0), "take `scale_w` and `offset_w` out")
            elif layer.cluster:
                message = f"has levels for weights, and a {self._type} layer has none that are quantized"
                yield self._problem("AM621", message, layer.place("cluster", 0), "take `cluster` out")
            return
        if not layer.scale_w:
            help = f"add `scale_w: …` and `offset_w: 0`, {self._counts()} of each"
            yield self._problem("AM620", "the record has no `scale_w` for its weights", layer.span, help)
        elif len(layer.scale_w) not in self._weight_counts:
            message = f"has {len(layer.scale_w)} `scale_w`, where {self._counts()} must be"
            yield self._problem("AM613", message, layer.place("scale_w"))
        if layer.offset_w and len(layer.offset_w) != len(layer.scale_w):
            message = f"has {len(layer.offset_w)} `offset_w` for {len(layer.scale_w)} `scale_w`"
            yield self._problem("AM613", message, layer.place("offset_w"), "write one `offset_w: 0` for each `scale_w`")
        for index, scale in enumerate(layer.scale_w):
            yield from self._scale("scale_w", scale, layer.place("scale_w", index))
        for index, offset in enumerate(layer.offset_w):
            if offset:
                message = f"has the `offset_w` {offset}, and weights are quantized without an offset"
                yield self._problem("AM615", message, layer.place("offset_w", index), "write 0")
        yield from self._levels()

    def _balance(self) -> Iterator[Diagnostic]:
        factors, channels = self._layer.balance, self._channels
        if not factors:
            return
        if not isinstance(channels, int):
            message = f"has factors of balanced channels: {channels}"
            help = "take `tensor_balance_factor` out"
            yield self._problem("AM279", message, self._layer.place("tensor_balance_factor", 0), help)
            return
        if len(factors) != channels:
            message = f"has {len(factors)} `tensor_balance_factor`, and reads {channels} channels"
            yield self._problem("AM279", message, self._layer.place("tensor_balance_factor"))
        legal = legal_factors(np.array(factors, np.float32))
        if not legal.all():
            first = int(np.argmin(legal))
            message = f"has the `tensor_balance_factor` {factors[first]:g}; a factor is a number "
            message += f"above {FLT_EPSILON:g} and below {1 / FLT_EPSILON:g}"
            yield self._problem("AM280", message, self._layer.place("tensor_balance_factor", first))

    def _levels(self) -> Iterator[Diagnostic]:
        """The width of weights, and the levels of those that have 4 bits."""
        layer = self._layer
        if layer.bits_w in self._uniform and (layer.bits_w == _BITS_W or not layer.cluster):
            if layer.cluster:
                message = f"has {len(layer.cluster)} levels in `cluster`, and weights of {_BITS_W} bits have none"
                help = f"write `num_bits_w: {_CLUSTERED}`, or take `cluster` out"
                yield self._problem("AM613", message, layer.place("cluster", 0), help)
            return
        if layer.bits_w != _CLUSTERED or not self._may_cluster:
            message = f"has the `num_bits_w` {layer.bits_w}; weights are quantized to {_BITS_W} bits"
            message += f", or to {_CLUSTERED} with a `cluster`" if self._may_cluster else ""
            yield self._problem("AM618", message, layer.place("num_bits_w"), f"write {_BITS_W}")
            return
        wanted = LEVELS * len(layer.scale_w)
        if not layer.cluster:
            message = f"has the `num_bits_w` {_CLUSTERED}, and no `cluster` with the levels of its weights"
            help = f"add {LEVELS} levels for each `scale_w`, or write `num_bits_w: {_BITS_W}`"
            yield self._problem("AM620", message, layer.place("num_bits_w"), help)
        elif layer.scale_w and len(layer.cluster) != wanted:
            message = f"has {len(layer.cluster)} levels in `cluster`, where {wanted} must be"
            help = f"write {LEVELS} for each `scale_w`, in the same order"
            yield self._problem("AM613", message, layer.place("cluster"), help)
        low, high = grid_limits(_BITS_W)
        for index, level in enumerate(layer.cluster):
            if not low <= level <= high:
                message = f"has the level {level} in `cluster`; levels are {low} to {high}"
                help = "levels are weights as integers of 8 bits: the weight divided by its `scale_w`"
                yield self._problem("AM622", message, layer.place("cluster", index), help)

    def _input(self, given: InputRecord) -> Iterator[Diagnostic]:
        if given.index not in self._inputs:
            known = ", ".join(map(str, self._inputs))
            message = f"has factors for input {given.index}, which is no data input"
            help = f"its data inputs have the index {known}" if known else None
            yield self._problem("AM612", message, given.place("index"), help)
            return
        for name, value in (("scale_d", given.scale), ("offset_d", given.offset)):
            if value is None:
                message = f"the record has no `{name}` for {self._words(given.index)}"
                yield self._problem("AM619", message, given.span or self._layer.span, f"add `{name}: …`")
        if given.scale is not None:
            yield from self._scale("scale_d", given.scale, given.place("scale_d"))
        least, most = _BITS_D
        if not least <= given.bits <= most:
            message = f"has the `num_bits_d` {given.bits}; data have {least} to {most} bits"
            yield self._problem("AM618", message, given.place("num_bits_d"))
            return
        low, high = grid_limits(given.bits)
        if given.offset is not None and not low <= given.offset <= high:
            message = f"has the `offset_d` {given.offset}; with {given.bits} bits it is {low} to {high}"
            help = "an offset is on the signed grid: take 2^(bits - 1) off one that counts from 0"
            yield self._problem("AM616", message, given.place("offset_d"), help)
        yield from self._shape(given)

    def _shape(self, given: InputRecord) -> Iterator[Diagnostic]:
        shape = self._shapes[given.index] if given.index < len(self._shapes) else None
        if shape is None or len(shape) != 4:
            return
        numbers = (given.channels, given.height, given.width)
        named = zip(("channels", "height", "width"), numbers, shape[1:], strict=True)
        for name, said, there in named:
            if said not in (None, 0, there):
                message = (
                    f"the record says `{name}: {said}` of {self._words(given.index)}, where this model has {there}"
                )
                help = "look whether the record belongs to this model"
                yield replace(self._problem("AM606", message, given.place(name), help), level=Level.WARNING)

    def _scale(self, name: str, scale: float, span: Span | None) -> Iterator[Diagnostic]:
        low, high = FLT_EPSILON, 1 / FLT_EPSILON
        if not low < np.float32(scale) < high:
            message = f"has the `{name}` {scale:g}; a scale is a number above {low:g} and below {high:g}"
            yield self._problem("AM614", message, span)

    def _counts(self) -> str:
        *_, last = self._weight_counts
        return f"1 or {last}" if len(self._weight_counts) > 1 and last > 1 else str(last)

    def _words(self, index: int) -> str:
        return "its hidden state" if index == len(self._shapes) else f"input {index}"

    def _problem(self, code: str, message: str, span: Span | None, help: str | None = None) -> Diagnostic:
        return Diagnostic(code, f"layer `{self._layer.name}`: {message}", span=span, help=help)
