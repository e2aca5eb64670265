"""The textual form of a graph: what goldens, dumps and `amctc print` show. `parse_graph` reads it back."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np

from amctc.ir.graph import Array, Graph, Node, Value
from amctc.ir.quantization import NodeQuant
from amctc.text.plain import Plain, Symbol

_LISTED = 64
"""Arrays of at most this many elements are written as numbers, longer ones in base64."""


def print_graph(graph: Graph, *, elide_weights: bool = False) -> str:
    """The graph as text.

    With `elide_weights` an array that is too long to list is only named by its hash: good to read
    and to compare, but `parse_graph` refuses it.
    """
    return "\n".join(_graph_lines(graph, elide_weights)) + "\n"


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
    return "{" + ", ".join(f"{key}: {plain_text(item)}" for key, item in value.items()) + "}"


def _graph_lines(graph: Graph, elide: bool) -> Iterator[str]:
    yield f"graph {plain_text(graph.name)} {{"
    if graph.attrs:
        yield f"  attrs {plain_text(graph.attrs)}"
    for node in graph.nodes:
        for line in _node_lines(node, elide):
            yield f"  {line}"
    for value in graph.outputs:
        yield f"  output {_reference(value)}"
    yield "}"


def _node_lines(node: Node, elide: bool) -> Iterator[str]:
    inputs = ", ".join(_reference(value) for value in node.inputs)
    yield f"node {plain_text(node.name)} {node.op} ({inputs}) {{"
    if node.attrs:
        yield f"  attrs {plain_text(node.attrs)}"
    for role, array in node.weights.items():
        yield f"  weight {role} {_array(array, elide)}"
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
        return tuple(float(item) for item in value)
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


def _array(array: Array, elide: bool) -> str:
    head = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if array.size <= _LISTED:
        numbers = ", ".join(_number(item) for item in array.ravel())
        return f"{head} = [{numbers}]"
    data = np.ascontiguousarray(array).tobytes()
    if elide:
        return f'{head} = elided "{hashlib.sha256(data).hexdigest()[:16]}"'
    return f'{head} = base64 "{base64.b64encode(data).decode("ascii")}"'


def _number(item: np.generic) -> str:
    # The shortest text that gives back the same number of this type.
    return str(item)
