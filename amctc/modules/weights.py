"""The weights of a graph, as passes have left them, put into the torch module that the graph was exported from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node
from amctc.modules.wrapped import replace_layers
from amctc.runtime.lowering.weights import dequantized_weight

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def take_weights(module: nn.Module, graph: Graph, layers: Mapping[str, str]) -> None:
    """Let the layers of a module compute with the numbers that the nodes of a graph do.

    `layers` are the qualified names of modules by the names of their nodes. A linear layer gets the weight and bias of
    its node, an integer weight as what it stands for; a layer that has gone into another one becomes an
    `nn.Identity`. `module` is changed.
    """
    for node in graph.nodes:
        if node.name not in layers:
            continue
        layer = module.get_submodule(layers[node.name])
        if op_def(node).linear is not None:
            _take(layer, node)
        gone = [layers[name] for name in node.provenance.absorbed if name in layers]
        replace_layers(module, dict.fromkeys(gone, lambda _: nn.Identity()))


def _take(layer: nn.Module, node: Node) -> None:
    trait = linear_trait(node)
    array = dequantized_weight(node, trait.weight)
    if not isinstance(layer, _TRANSPOSED):  # torch has [Cout, …] where a MatMul has [K, N]
        array = np.asarray(trait.by_output_channel(node, array), np.float32)
    old = layer.get_parameter("weight")
    layer.register_parameter("weight", _parameter(array.reshape(tuple(old.shape)), old))
    bias = node.weights.get(trait.bias)
    if bias is not None and hasattr(layer, "bias"):
        layer.register_parameter("bias", _parameter(np.asarray(bias, np.float32).reshape(-1), old))


def _parameter(array: NDArray[np.float32], like: nn.Parameter) -> nn.Parameter:
    """A parameter of the element type and on the device of another."""
    tensor = torch.from_numpy(np.array(array))  # a copy: what the graph holds is not to change with the module
    return nn.Parameter(tensor.to(dtype=like.dtype, device=like.device), requires_grad=like.requires_grad)
