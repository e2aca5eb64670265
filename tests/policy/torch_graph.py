"""A small graph of made-up ops whose layers have PyTorch's types as other names of theirs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import amctc
from amctc.dialects.op import ONE, Arity, OpDef, Quantizable
from amctc.ir import Graph, Node
from amctc.ir.node import Shape

_WEIGHTS = Quantizable(on_by_default=True, weights=True, channel_wise=True)
_DATA = Quantizable(on_by_default=True)


def _same(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return shapes


def _op(kind: str, quantizable: Quantizable | None, aliases: Callable[[Node], tuple[str, ...]]) -> OpDef:
    inputs = Arity(0, 0) if kind == "Input" else ONE
    return OpDef(f"net.{kind}", "a made-up op", inputs, ONE, _same, quantizable=quantizable, aliases=aliases)


ROWS = (
    _op("Input", None, lambda node: ()),
    _op("Conv", _WEIGHTS, lambda node: ("Conv3d" if node.attrs["axes"] == 3 else "Conv2d",)),
    _op("Gemm", _WEIGHTS, lambda node: ("Linear",)),
    _op("MatMul", _WEIGHTS, lambda node: ("Linear",)),
    _op("AveragePool", _DATA, lambda node: ("AvgPool2d",)),
    _op("MaxPool", None, lambda node: ("MaxPool2d",)),
)


@contextmanager
def torch_graph() -> Generator[Graph]:
    """conv2 and conv3 (of 2 and 3 axes), average, largest, gemm and product, in a row; its ops are known inside."""
    with ExitStack() as stack:
        for row in ROWS:
            stack.enter_context(amctc.register_op(row))
        graph = Graph("torch")
        value = graph.add("data", "net.Input").output
        for name, kind, attrs in (
            ("conv2", "Conv", {"axes": 2}),
            ("conv3", "Conv", {"axes": 3}),
            ("average", "AveragePool", {}),
            ("largest", "MaxPool", {}),
            ("gemm", "Gemm", {}),
            ("product", "MatMul", {}),
        ):
            value = graph.add(name, f"net.{kind}", [value], attrs=dict(attrs)).output
        graph.outputs = [value]
        yield graph
