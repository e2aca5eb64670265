"""The textual form of a graph: what goldens, dumps and `amctc print` show. `parse_graph` reads it back."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping

import numpy as np

from amctc.ir.graph import Graph
from amctc.ir.node import Array, Node, Value
from amctc.ir.quantization import NodeQuant
from amctc.ir.stored_weights import LISTED, StoredWeights
from amctc.text.plain import Plain, Symbol

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OP = re.compile(r"[a-z]+(\.[A-Za-z_][A-Za-z0-9_\-]*)+")
"""What grammar/graph.lark calls NAME and OP."""


def print_graph(graph: Graph, *, elide_weights: bool = False, stored: StoredWeights | None = None) -> str:
    """The graph as text.

    An array that is too long to list is written in base64. With `elide_weights` it is only named by its hash:
    good to read and to compare, but `parse_graph` refuses it. Arrays in `stored` are named by their places.
    """
    return "\n".join(_graph_lines(graph, elide_weights, stored)) + "\n"


def print_node(node: Node) -> str:
    """One node as it stands in the text of a graph, with long weights left out."""
    return "\n".join(_node_lines(node, True, None)) + "\n"


def plain_text(value: Plain) -> str:
    """A plain value in the notation of the textual form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return f'b"{value.hex()}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(plain_text(item) for item in value) + "]"
    return "{" + ", ".join(f"{_word(key, _NAME)}: {plain_text(item)}" for key, item in value.items()) + "}"


def _word(text: str, plain: re.Pattern[str]) -> str:
    """A name as it is, or quoted where the notation would read it as something else."""
    return text if plain.fullmatch(text) else plain_text(text)


def _graph_lines(graph: Graph, elide: bool, stored: StoredWeights | None) -> Iterator[str]:
    yield f"graph {plain_text(graph.name)} {{"
    if graph.attrs:
        yield f"  attrs {plain_text(graph.attrs)}"
    for node in graph.nodes:
        for line in _node_lines(node, elide, stored):
            yield f"  {line}"
    for value in graph.outputs:
        yield f"  output {_reference(value)}"
    yield "}"


def _node_lines(node: Node, elide: bool, stored: StoredWeights | None) -> Iterator[str]:
    inputs = ", ".join(_reference(value) for value in node.inputs)
    yield f"node {plain_text(node.name)} {_word(node.op, _OP)} ({inputs}) {{"
    if node.attrs:
        yield f"  attrs {plain_text(node.attrs)}"
    for role, array in node.weights.items():
        place = stored.place_of(array) if stored is not None else None
        yield f"  weight {role} {_array(array, elide) if place is None else _array_at(array, place)}"
    for value in node.outputs:
        shape = "?" if value.shape is None else "[" + ", ".join(map(str, value.shape)) + "]"
        yield f"  out {plain_text(value.blob)} {value.dtype} {shape}"
    provenance = node.provenance
    if provenance.origin is not None:
        yield f"  from {plain_text(provenance.origin.file)} {provenance.origin.line}"
    if provenance.inserted:
        yield "  inserted"
    if provenance.absorbed:
        yield f"  absorbed {plain_text(provenance.absorbed)}"
    for change in provenance.changes:
        rule = "" if change.rule is None else f" rule {plain_text(change.rule)}"
        yield f"  change {plain_text(change.by)} {plain_text(change.what)}{rule}"
    if node.quant is not None:
        yield f"  quant {plain_text(quant_to_plain(node.quant))}"
    yield "}"


def quant_to_plain(quant: NodeQuant) -> dict[str, Plain]:
    """The annotation as plain data; unset fields are left out."""
    return _dataclass_to_plain(quant)


def _dataclass_to_plain(value: object) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]  # only called with dataclasses
        item = getattr(value, field.name)
        if item is not None and item != {}:
            plain[field.name] = _to_plain(item)
    return plain


def _to_plain(value: object) -> Plain:
    if dataclasses.is_dataclass(value):
        return _dataclass_to_plain(value)
    if isinstance(value, np.ndarray):
        return _to_plain(value.tolist())
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    if isinstance(value, tuple | list):
        return tuple(_to_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, bool | int | float | str | bytes):
        return value
    raise TypeError(f"no plain form for {type(value).__name__}")


def _reference(value: Value) -> str:
    name = plain_text(value.producer.name)
    return name if value.index == 0 else f"{name}.{value.index}"


def _array_at(array: Array, place: tuple[str, str]) -> str:
    return f"{_head(array)} = file {' '.join(map(plain_text, place))}"


def _head(array: Array) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def _array(array: Array, elide: bool) -> str:
    head = _head(array)
    if array.size <= LISTED and array.dtype.kind != "c":
        numbers = ", ".join(_number(item) for item in array.ravel())
        return f"{head} = [{numbers}]"
    data = np.ascontiguousarray(array).tobytes()
    if elide:
        return f'{head} = elided "{hashlib.sha256(data).hexdigest()[:16]}"'
    return f'{head} = base64 "{base64.b64encode(data).decode("ascii")}"'


def _number(item: np.generic) -> str:
    # The shortest text that gives back the same number of this type.
    return str(int(item)) if item.dtype.kind == "b" else str(item)
