"""The blobs of a network that training changes, in the order in which Caffe numbers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError
from amctc.dialects.caffe.blobs import describe
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.frontends.caffe.shared_parameters import parameter_names
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.training.layers.layer import Weight

_RATES = ("lr_mult", "decay_mult")


@dataclass(frozen=True, eq=False)
class Parameter:
    """A learnable blob: number `index` of `layer`, the first that has it, in the role `role` of the op table.

    `tensor` is float32 of the layer's shape; it stays the same object as long as the network lives, so whoever changes
    the numbers writes into it. It has a gradient where `lr_mult` is not 0. `name` is that under which layers share it,
    "" where there is none. Statistics of batches have an `lr_mult` of 0.
    """

    layer: str
    index: int
    role: str
    name: str
    tensor: Tensor
    lr_mult: float
    decay_mult: float


@dataclass(frozen=True)
class ParameterTable:
    """`learnable` are all parameters, each once; `weights` has the blobs of each layer by role, shared ones too."""

    learnable: tuple[Parameter, ...]
    weights: Mapping[str, Mapping[str, Weight]]


@dataclass(frozen=True)
class _Blob:
    """A blob as a layer has it: the rates that its own `param` says, None where it does not."""

    node: Node
    index: int
    role: str
    shared: str
    rates: tuple[float | None, float | None]


def parameter_table(
    graph: Graph, device: torch.device, *, everything: bool, shared: ParameterTable | None
) -> ParameterTable:
    """The parameters of a graph, with copies of its weights, in the order of its layers and of their blobs.

    Layers of a name that `shared` has take its tensors. With `everything` all but statistics have a gradient, whatever
    their `lr_mult`. Raises `DiagnosticError`: AM903 where layers that share a parameter differ in its rates, AM904
    where a layer's blobs are not those of `shared`.
    """
    weights: dict[str, dict[str, Weight]] = {}
    owners: dict[str, list[_Blob]] = {}
    for blob in _blobs(graph):
        key = f"name {blob.shared}" if blob.shared else f"blob {blob.index} of {blob.node.name}"
        owners.setdefault(key, []).append(blob)
    learnable: list[Parameter] = []
    collector = Collector()
    if shared is not None:
        collector.extend(_misfits(graph, shared))
        collector.raise_errors()
    for group in owners.values():
        try:
            parameter = _parameter(group, device, everything, shared)
        except DiagnosticError as problem:
            collector.extend(problem.diagnostics)
            continue
        learnable.append(parameter)
        for blob in group:
            shape = blob.node.weights[blob.role].shape
            weights.setdefault(blob.node.name, {})[blob.role] = Weight(parameter.tensor, shape)
    collector.raise_errors()
    return ParameterTable(tuple(learnable), weights)


def read_weights(graph: Graph, table: ParameterTable) -> None:
    """Copy the weights of a graph into the tensors, whose shapes they have."""
    for node in graph.nodes:
        for role, weight in table.weights.get(node.name, {}).items():
            with torch.no_grad():
                weight.tensor.view(weight.shape).copy_(_floats(node, role))


def written_weights(table: ParameterTable) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Copies of all blobs by layer and role; layers that share one have one array, or views of it."""
    arrays: dict[Tensor, NDArray[np.float32]] = {}
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for layer, weights in table.weights.items():
        for role, weight in weights.items():
            if weight.tensor not in arrays:
                arrays[weight.tensor] = weight.tensor.detach().cpu().numpy().copy()
            array = arrays[weight.tensor]
            found.setdefault(layer, {})[role] = array if array.shape == weight.shape else array.reshape(weight.shape)
    return found


def _blobs(graph: Graph) -> Iterator[_Blob]:
    for node in graph.nodes:
        statistics = op_def(node).statistics is not None
        names, rates = parameter_names(node), _own_rates(node)
        for index, role in enumerate(node.weights):
            name = names[index][0] if index < len(names) else ""
            own = rates[index] if index < len(rates) else (None, None)
            yield _Blob(node, index, role, name, (0.0, own[1]) if statistics else own)


def _own_rates(node: Node) -> list[tuple[float | None, float | None]]:
    given = node.attrs.get("param", ())
    entries = given if isinstance(given, tuple) else (given,)
    found: list[tuple[float | None, float | None]] = []
    for entry in entries:
        said = [entry.get(name) if isinstance(entry, dict) else None for name in _RATES]
        rate, decay = (float(value) if isinstance(value, int | float) else None for value in said)
        found.append((rate, decay))
    return found


def _parameter(group: list[_Blob], device: torch.device, everything: bool, shared: ParameterTable | None) -> Parameter:
    owner = group[0]
    rate, decay = _rate(group, 0), _rate(group, 1)
    tensor = None if shared is None else _taken(owner, shared)
    if tensor is None:
        tensor = _floats(owner.node, owner.role).to(device)
        statistics = op_def(owner.node).statistics is not None
        tensor.requires_grad_((everything or rate != 0) and not statistics)
    return Parameter(owner.node.name, owner.index, owner.role, owner.shared, tensor, rate, decay)


def _rate(group: list[_Blob], which: int) -> float:
    """The one that the layers of a group say; 1 where none does."""
    said = [(blob, rate) for blob in group if (rate := blob.rates[which]) is not None]
    for blob, rate in said[1:]:
        first, expected = said[0]
        if rate != expected:
            message = (
                f"gives the parameter `{blob.shared}` an `{_RATES[which]}` of {rate:g}, and layer `{first.node.name}`, "
                f"which shares it, one of {expected:g}"
            )
            raise DiagnosticError(node_error("AM903", blob.node, message, "say it once, or the same in all layers"))
    return said[0][1] if said else 1.0


def _taken(owner: _Blob, shared: ParameterTable) -> Tensor | None:
    """The tensor that the layer of this name has there; None where there is no such layer."""
    there = shared.weights.get(owner.node.name)
    return None if there is None else there[owner.role].tensor


def _misfits(graph: Graph, shared: ParameterTable) -> Iterator[Diagnostic]:
    """A diagnostic (AM904) for every layer whose blobs are not those of the layer of its name in `shared`."""
    for node in graph.nodes:
        there = shared.weights.get(node.name)
        if there is None:
            continue
        own = {role: array.shape for role, array in node.weights.items()}
        others = {role: weight.shape for role, weight in there.items()}
        if own != others:
            message = f"has the blobs {_listed(own)}; the layer of its name in the train network has {_listed(others)}"
            yield node_error("AM904", node, message)


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{role} {describe(shape)}" for role, shape in shapes.items()) or "none"


def _floats(node: Node, role: str) -> Tensor:
    return torch.tensor(np.asarray(node.weights[role], np.float32))
