"""Which torch module each node of an exported model comes from, and the name that it gets after it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

MODULE_KEY: Final = "amctc.module"
TYPE_KEY: Final = "amctc.module_type"
"""Keys of a node's `metadata_props`: the qualified name of the module that it computes, and its type in `torch.nn`."""

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_CLASSES: Final = "pkg.torch.onnx.class_hierarchy"
_LAYER_OPS: Final = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "Gemm",
        "GRU",
        "GlobalAveragePool",
        "GroupNormalization",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "MaxPool",
        "RNN",
    }
)
"""Ops that are a layer by themselves: of the nodes of a module such a one is the layer, else the last."""
_CALL: Final = re.compile(r"@\d+$")


@dataclass(frozen=True)
class ModuleNode:
    """The module that a node computes: its qualified name and the name of its type in `torch.nn` (`Conv2d`)."""

    module: str
    type: str


def module_nodes(model: onnx.ModelProto) -> dict[str, ModuleNode]:
    """By name, the nodes that compute a torch module, in the graph's order; two of one module: it is called twice."""
    found: dict[str, ModuleNode] = {}
    for node in model.graph.node:
        said = {entry.key: entry.value for entry in node.metadata_props}
        if MODULE_KEY in said and TYPE_KEY in said:
            found[node.name] = ModuleNode(said[MODULE_KEY], said[TYPE_KEY])
    return found


@dataclass(frozen=True)
class Layers:
    """The modules without modules inside: `names` gives each name a module has the first, `types` its torch type."""

    names: Mapping[str, str]
    types: Mapping[str, str]


def layers_of_module(module: torch.nn.Module) -> Layers:
    """The layers of a module, of user's types derived from torch's too."""
    first = {id(each): name for name, each in module.named_modules()}
    names = {name: first[id(each)] for name, each in module.named_modules(remove_duplicate=False)}
    leaves = {name: each for name, each in module.named_modules() if next(each.children(), None) is None}
    types = {name: type for name, each in leaves.items() if (type := _torch_type(each)) is not None}
    return Layers(names, types)


def layers_of_nodes(nodes: Iterable[ir.Node], parameters: Iterable[str]) -> Layers:
    """The layers of an exported program, by what its nodes and the names of its parameters say."""
    types: dict[str, str] = {}
    inner = {name.rpartition(".")[0] for name in parameters}
    for node in nodes:
        scope, classes = _scope(node), _texts(node, _CLASSES)
        inner.add(scope)
        parent, _, type = classes[-2].rpartition(".") if len(classes) > 1 else ("", "", "")
        if parent.startswith("torch.nn.") and _is_torch_type(type):
            types[scope] = type
    parents = {name[: match.start()] for name in inner for match in re.finditer(r"\.", name)}
    return Layers({name: name for name in inner}, {name: t for name, t in types.items() if name not in parents})


def _torch_type(module: torch.nn.Module) -> str | None:
    bases = (each.__name__ for each in type(module).__mro__ if getattr(torch.nn, each.__name__, None) is each)
    return next((name for name in bases if _is_torch_type(name)), None)


def _is_torch_type(name: str) -> bool:
    return name != "Module" and isinstance(getattr(torch.nn, name, None), type)


def name_nodes(nodes: Iterable[ir.Node], layers: Layers) -> None:
    """Name the nodes after modules, and leave of the exporter's notes on them only which module they compute.

    The node that computes a layer gets the layer's qualified name; a further call of the same module gets it with a
    number behind (`relu`, `relu1`), as in AMCT. All others get the name of the module that they stand in and of their
    op (`layer1.0/Add`), numbered where there are several; but the projection inside `nn.MultiheadAttention` that is a
    module's in all but the call has that module's name (`attention.out_proj`).
    """
    listed = list(nodes)
    scopes = [layers.names.get(name, name) for name in map(_scope, listed)]
    whole = _layer_nodes(listed, scopes, layers)
    taken = {scope for node, scope in zip(listed, scopes, strict=True) if id(node) in whole}
    seen: set[str] = set()
    for node, scope in zip(listed, scopes, strict=True):
        if id(node) in whole:
            node.name = scope if scope not in seen else _numbered(scope, "", taken)
            seen.add(scope)
        else:
            wanted = _owner(node, scope, layers) or f"{scope}/{node.op_type}"
            node.name = wanted if wanted not in taken else _numbered(wanted, "_", taken)
        taken.add(node.name)
        node.metadata_props.clear()
        if id(node) in whole:
            node.metadata_props[MODULE_KEY] = scope
            node.metadata_props[TYPE_KEY] = layers.types[scope]


def _layer_nodes(nodes: list[ir.Node], scopes: list[str], layers: Layers) -> set[int]:
    """By identity, the nodes that compute a layer."""
    calls: dict[str, dict[str, list[ir.Node]]] = {}
    for node, scope in zip(nodes, scopes, strict=True):
        if scope in layers.types and node.op_type != "Constant":
            calls.setdefault(scope, {}).setdefault(_texts(node, _SCOPES)[-1], []).append(node)
    found: set[int] = set()
    for groups in calls.values():
        ops = [node for group in groups.values() for node in group if node.op_type in _LAYER_OPS]
        found.update(map(id, ops or [group[-1] for group in groups.values()]))
    return found


def _owner(node: ir.Node, scope: str, layers: Layers) -> str | None:
    """The module below this one whose weight the node of a layer reads, if it is such a one."""
    weight = node.inputs[1].name if node.op_type in _LAYER_OPS and len(node.inputs) > 1 and node.inputs[1] else None
    owner = (weight or "").removesuffix(".weight")
    below = owner.startswith(f"{scope}." if scope else "")
    return owner if weight != owner and owner != scope and below and owner in layers.names else None


def _numbered(wanted: str, separator: str, taken: set[str]) -> str:
    number = 1
    while f"{wanted}{separator}{number}" in taken:
        number += 1
    return f"{wanted}{separator}{number}"


def _scope(node: ir.Node) -> str:
    """The qualified name of the innermost module that a node stands in; empty for the outermost."""
    scopes = _texts(node, _SCOPES)
    return _CALL.sub("", scopes[-2]) if len(scopes) > 1 and scopes[0] == "" else ""


def _texts(node: ir.Node, key: str) -> list[str]:
    """A list of texts that the exporter wrote as Python would print it; the last is the torch op's own."""
    found = ast.literal_eval(node.metadata_props.get(key, "[]"))
    return [str(each) for each in found]
