"""Reads the textual form of a graph back: `parse_graph(print_graph(g)) == g`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from lark import Lark, Token, Tree, UnexpectedInput

from amctc.diagnostics import DiagnosticError, error
from amctc.ir.graph import Array, Graph, Node, Shape, Value
from amctc.ir.provenance import Change, Origin, Provenance
from amctc.ir.quantization import InputQuant, NodeQuant, WeightQuant
from amctc.quant.ifmr import IfmrSettings
from amctc.source import SourceFile
from amctc.text.plain import Plain, Symbol

_Tree: TypeAlias = "Tree[Token]"


@cache
def _grammar() -> Lark:
    text = files("amctc.grammar").joinpath("graph.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", start="graph", propagate_positions=True)


def parse_graph(source: SourceFile) -> Graph:
    """The graph that a text describes. Raises `DiagnosticError` (AM150) at the character."""
    try:
        tree = _grammar().parse(source.text)
    except UnexpectedInput as mistake:
        start = mistake.pos_in_stream or 0
        raise error("AM150", "this is not the textual form of a graph", source.span(start, start + 1)) from None
    return _Reader(source).graph(tree)


class _Reader:
    def __init__(self, source: SourceFile) -> None:
        self.source = source

    def graph(self, tree: _Tree) -> Graph:
        graph = Graph(_string(_tokens(tree)[0]))
        for part in _parts(tree, "attrs"):
            graph.attrs = self.mapping(_trees(part)[0])
        for part in _parts(tree, "node"):
            self.node(graph, part)
        for part in _parts(tree, "output"):
            graph.outputs.append(self.value(graph, _trees(part)[0]))
        return graph

    def node(self, graph: Graph, tree: _Tree) -> None:
        name, op = _tokens(tree)[:2]
        operands = next(_parts(tree, "operands"))
        outs = list(_parts(tree, "out"))
        if _string(name) in graph:
            raise self.error(name, f"there are two nodes named `{_string(name)}`")
        node = graph.add(
            _string(name),
            str(op),
            [self.value(graph, reference) for reference in _trees(operands)],
            [_string(_tokens(out)[0]) for out in outs],
            provenance=self.provenance(tree),
        )
        for part in _parts(tree, "attrs"):
            node.attrs = self.mapping(_trees(part)[0])
        for part in _parts(tree, "weight"):
            node.weights[str(_tokens(part)[0])] = self.array(part)
        for part in _parts(tree, "quant"):
            node.quant = self.quant(part)
        for value, out in zip(node.outputs, outs, strict=True):
            value.dtype = str(_tokens(out)[1])
            value.shape = next((_dims(dims) for dims in _parts(out, "dims")), None)

    def provenance(self, tree: _Tree) -> Provenance:
        origin: Origin | None = None
        for part in _parts(tree, "origin"):
            file, line = _tokens(part)
            origin = Origin(_string(file), int(line))
        absorbed = tuple(str(name) for part in _parts(tree, "absorbed") for name in self.items(_trees(part)[0]))
        changes = tuple(self.change(part) for part in _parts(tree, "change"))
        return Provenance(origin, changes, absorbed, inserted=any(_parts(tree, "inserted")))

    def change(self, tree: _Tree) -> Change:
        by, what = _tokens(tree)
        rule = next((_string(_tokens(part)[0]) for part in _parts(tree, "rule")), None)
        return Change(_string(by), _string(what), rule)

    def value(self, graph: Graph, tree: _Tree) -> Value:
        name, *index = _tokens(tree)
        node: Node | None = graph.node(_string(name)) if _string(name) in graph else None
        number = int(index[0]) if index else 0
        if node is None or number >= len(node.outputs):
            raise self.error(name, f"no node before this one has the output `{name}`")
        return node.outputs[number]

    def array(self, tree: _Tree) -> Array:
        dtype_token = _tokens(tree)[1]
        try:
            dtype = np.dtype(str(dtype_token))
        except TypeError:
            raise self.error(dtype_token, f"`{dtype_token}` is not an element type") from None
        shape = _dims(next(_parts(tree, "dims")))
        data = _trees(tree)[-1]
        if data.data == "elided":
            raise self.error(dtype_token, "the numbers of this weight were left out when the graph was printed")
        try:
            if data.data == "base64":
                raw = base64.b64decode(_string(_tokens(data)[0]), validate=True)
                return np.frombuffer(raw, dtype).reshape(shape).copy()
            return np.array(self.items(data), dtype).reshape(shape)
        except (ValueError, OverflowError, binascii.Error):
            raise self.error(dtype_token, "the numbers do not fit the type and shape") from None

    def quant(self, tree: _Tree) -> NodeQuant:
        plain = self.mapping(_trees(tree)[0])
        try:
            return _quant(plain)
        except (KeyError, TypeError, ValueError):
            span = self.source.span(tree.meta.start_pos, tree.meta.end_pos)
            raise error("AM150", "this is not a quantization annotation", span) from None

    def plain(self, item: _Tree | Token) -> Plain:
        if isinstance(item, Token):
            return _scalar(item)
        return self.items(item) if item.data == "list" else self.mapping(item)

    def items(self, tree: _Tree) -> tuple[Plain, ...]:
        return tuple(self.plain(item) for item in tree.children)

    def mapping(self, tree: _Tree) -> dict[str, Plain]:
        pairs: dict[str, Plain] = {}
        for pair in _trees(tree):
            key, item = pair.children
            pairs[str(key)] = self.plain(item)
        return pairs

    def error(self, token: Token, message: str) -> DiagnosticError:
        start = token.start_pos or 0
        return error("AM150", message, self.source.span(start, start + len(token)))


def _parts(tree: _Tree, kind: str) -> Iterator[_Tree]:
    return (child for child in tree.children if isinstance(child, Tree) and child.data == kind)


def _trees(tree: _Tree) -> list[_Tree]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: _Tree) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _string(token: Token) -> str:
    return str(json.loads(token, strict=False))


def _dims(tree: _Tree) -> Shape:
    return tuple(int(token) for token in _tokens(tree))


def _scalar(token: Token) -> Plain:
    match token.type:
        case "STRING":
            return _string(token)
        case "BYTES":
            return bytes.fromhex(token[2:-1])
        case "FLOAT":
            return float(token)
        case "INT":
            return int(token)
        case _:
            return token == "true" if token in ("true", "false") else Symbol(str(token))


def _quant(plain: dict[str, Plain]) -> NodeQuant:
    inputs = plain["inputs"]
    weight = plain.get("weight")
    rule, state = plain.get("rule"), plain.get("state")
    return NodeQuant(
        inputs=tuple(_input_quant(item) for item in inputs) if isinstance(inputs, tuple) else (),
        weight=_weight_quant(weight) if isinstance(weight, dict) else None,
        rule=str(rule) if rule is not None else None,
        state=_input_quant(state) if state is not None else None,
    )


def _input_quant(plain: Plain) -> InputQuant:
    if not isinstance(plain, dict) or not isinstance(settings := plain["settings"], dict):
        raise TypeError
    fields = {key: item for key, item in plain.items() if key != "settings"}
    return InputQuant(settings=IfmrSettings(**settings), **fields)  # type: ignore[arg-type]  # checked by use


def _weight_quant(plain: dict[str, Plain]) -> WeightQuant:
    fields = {key: item for key, item in plain.items() if key != "scales"}
    scales = plain.get("scales")
    arrays = {role: np.array(scale, np.float32) for role, scale in scales.items()} if isinstance(scales, dict) else {}
    return WeightQuant(scales=arrays, **fields)  # type: ignore[arg-type]  # checked by use
