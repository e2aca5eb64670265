"""Reads the textual form of a graph back: `parse_graph(print_graph(g)) == g`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from lark import Lark, Token, Tree, UnexpectedInput
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.ir.graph import Graph
from amctc.ir.node import Array, Node, Shape, Value
from amctc.ir.provenance import Change, Origin, Provenance
from amctc.ir.quantization import Balance, InputQuant, NodeQuant, WeightQuant
from amctc.quant.activation import settings_from_plain
from amctc.quant.adaround import AdaRoundSettings
from amctc.quant.snq_settings import SnqSettings
from amctc.source import SourceFile
from amctc.text.parsers import parser_of
from amctc.text.plain import Plain, Symbol

_Tree: TypeAlias = "Tree[Token]"

_Number = TypeVar("_Number", bound=np.generic)

ReadArray: TypeAlias = Callable[[str, str], Array]
"""Gives the array under a key of a file, by the names that the text has; `DiagnosticError` where there is none."""

_DEEPEST = 60
"""Lists and dicts inside each other; attributes of real layers have a handful."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@cache
def _grammar() -> Lark:
    return parser_of("graph", propagate_positions=True)


def parse_graph(source: SourceFile, read_array: ReadArray | None = None) -> Graph:
    """The graph that a text describes. Raises `DiagnosticError` (AM150) at the character.

    `read_array` finds the weights that are not in the text (None: there must be none); the name of their
    file is then a plain one, without a folder.
    """
    try:
        tree = _grammar().parse(source.text)
    except UnexpectedInput as mistake:
        start = mistake.pos_in_stream or 0
        raise error("AM150", "this is not the textual form of a graph", source.span(start, start + 1)) from None
    try:
        return _Reader(source, read_array).graph(tree)
    except (ValueError, OverflowError):
        raise error("AM150", "something in this graph cannot be read", source.span(0, 5)) from None


class _Reader:
    def __init__(self, source: SourceFile, read_array: ReadArray | None) -> None:
        self.source = source
        self.read_array = read_array

    def graph(self, tree: _Tree) -> Graph:
        graph = Graph(_string(_tokens(tree)[0]))
        for part in _parts(tree, "attrs"):
            graph.attrs = self.mapping(_trees(part)[0])
        for part in _parts(tree, "node"):
            try:
                self.node(graph, part)
            except (ValueError, OverflowError):  # such as a bad escape in a string, or a number of 5000 digits
                span = self.source.span(part.meta.start_pos, part.meta.end_pos)
                raise error("AM150", "something in this node cannot be read", span) from None
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
            _string(op) if op.type == "STRING" else str(op),
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
        dtype = _element_type(str(dtype_token))
        if dtype is None:
            raise self.error(dtype_token, f"`{dtype_token}` is not an element type")
        shape = _dims(next(_parts(tree, "dims")))
        data = _trees(tree)[-1]
        if data.data == "elided":
            raise self.error(dtype_token, "the numbers of this weight were left out when the graph was printed")
        if data.data == "file":
            return self.stored(data, dtype, shape)
        try:
            if data.data == "base64":
                raw = base64.b64decode(_string(_tokens(data)[0]), validate=True)
                return np.frombuffer(raw, dtype).reshape(shape).copy()
            return np.array(self.items(data), dtype).reshape(shape)
        except (ValueError, OverflowError, binascii.Error):
            raise self.error(dtype_token, "the numbers do not fit the type and shape") from None

    def stored(self, tree: _Tree, dtype: np.dtype[np.generic], shape: Shape) -> Array:
        """The very array of the file, so that layers that share one still do."""
        file, key = _tokens(tree)
        name = _string(file)
        if self.read_array is None or not _FILE_NAME.fullmatch(name):
            raise self.error(file, "a weight may only lie in a file beside this one")
        found = self.read_array(name, _string(key))
        if found.dtype != dtype or found.shape != shape:
            has = f"{found.dtype}{list(found.shape)}"
            raise self.error(key, f"the array there is {has}, not {dtype}{list(shape)}")
        return found

    def quant(self, tree: _Tree) -> NodeQuant:
        plain = self.mapping(_trees(tree)[0])
        try:
            return _quant(plain)
        except (KeyError, TypeError, ValueError):
            span = self.source.span(tree.meta.start_pos, tree.meta.end_pos)
            raise error("AM150", "this is not a quantization annotation", span) from None

    def plain(self, item: _Tree | Token, depth: int) -> Plain:
        if isinstance(item, Token):
            return _scalar(item)
        if depth > _DEEPEST:
            span = self.source.span(item.meta.start_pos, item.meta.start_pos + 1)
            raise error("AM150", f"lists and dicts lie more than {_DEEPEST} deep in each other", span)
        return self.items(item, depth) if item.data == "list" else self.mapping(item, depth)

    def items(self, tree: _Tree, depth: int = 1) -> tuple[Plain, ...]:
        return tuple(self.plain(item, depth + 1) for item in tree.children)

    def mapping(self, tree: _Tree, depth: int = 1) -> dict[str, Plain]:
        pairs: dict[str, Plain] = {}
        for pair in _trees(tree):
            key, item = pair.children
            name = _string(key) if isinstance(key, Token) and key.type == "STRING" else str(key)
            pairs[name] = self.plain(item, depth + 1)
        return pairs

    def error(self, token: Token, message: str) -> DiagnosticError:
        start = token.start_pos or 0
        return error("AM150", message, self.source.span(start, start + len(token)))


def _element_type(name: str) -> np.dtype[Any] | None:
    """numpy's element type of numbers of that name, or one of those that `ml_dtypes` adds; None for any other."""
    try:
        dtype = np.dtype(name)
    except TypeError:
        import ml_dtypes

        kind = getattr(ml_dtypes, name, None)
        if not isinstance(kind, type) or not issubclass(kind, np.generic):
            return None
        return np.dtype(kind)
    return dtype if dtype.kind in "biufc" or dtype.type.__module__ == "ml_dtypes" else None


def _parts(tree: _Tree, kind: str) -> Iterator[_Tree]:
    return (child for child in tree.children if isinstance(child, Tree) and child.data == kind)


def _trees(tree: _Tree) -> list[_Tree]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: _Tree) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _string(token: Token) -> str:
    return str(json.loads(token, strict=False))


def _dims(tree: _Tree) -> Shape:
    dims = tuple(int(token) for token in _tokens(tree))
    if any(dim < 0 for dim in dims):
        raise ValueError(dims)
    return dims


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
        balance=_balance(plain["balance"]) if "balance" in plain else None,
        precision_mode=str(plain["precision_mode"]) if "precision_mode" in plain else None,
    )


def _balance(plain: Plain) -> Balance:
    if not isinstance(plain, dict) or not isinstance(plain["factors"], tuple):
        raise TypeError
    factors = tuple(float(factor) for factor in plain["factors"] if isinstance(factor, int | float))
    return Balance(factors, plain["folded"] is True)


def _input_quant(plain: Plain) -> InputQuant:
    if not isinstance(plain, dict):
        raise TypeError
    fields = {key: item for key, item in plain.items() if key != "settings"}
    return InputQuant(settings=settings_from_plain(plain["settings"]), **fields)  # type: ignore[arg-type]  # checked by use


def _weight_quant(plain: dict[str, Plain]) -> WeightQuant:
    fields = {key: item for key, item in plain.items() if key not in ("scales", "clustering", "tables", "rounding")}
    clustering, rounding = plain.get("clustering"), plain.get("rounding")
    settings = SnqSettings(**clustering) if isinstance(clustering, dict) else None  # type: ignore[arg-type]  # checked by use
    learned = AdaRoundSettings(**rounding) if isinstance(rounding, dict) else None  # type: ignore[arg-type]  # checked by use
    return WeightQuant(
        scales=_arrays(plain.get("scales"), np.float32),
        clustering=settings,
        tables=_arrays(plain.get("tables"), np.int8),
        rounding=learned,
        **fields,  # type: ignore[arg-type]  # checked by use
    )


def _arrays(plain: Plain | None, dtype: type[_Number]) -> dict[str, NDArray[_Number]]:
    """Arrays by role."""
    return {role: np.array(numbers, dtype) for role, numbers in plain.items()} if isinstance(plain, dict) else {}
