"""Which modules of a model are trained with quantization, and how: a policy and the exported graph say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from torch import nn

from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.modules.trained_layer import TRAINED_TYPES, TRANSPOSED
from amctc.policy.resolve_training import ResolvedTraining, Trainable, TrainedData, TrainedLayer, trainable_layers
from amctc.runtime.lowering.integer import producer_of

_BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_FOLDED_INTO: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
"""Not Linear, which has one scale for all its weights."""

_NEVER_NEGATIVE: Final = frozenset({"onnx.Relu", "onnx.Sigmoid"})


@dataclass(frozen=True)
class PlannedLayer:
    """How one module is trained; `how` says whether the lower end of its range stays 0.

    `leader` is the first of the layers whose range it has, which is its own name for most; `batch_norm` is the module
    behind it that is folded into it when the model is saved.
    """

    name: str
    how: TrainedLayer
    leader: str
    batch_norm: str | None


def trainable_modules(model: nn.Module, graph: Graph, layers: Mapping[str, str]) -> Mapping[str, Trainable]:
    """The layers of a model's graph that can be trained, by the name of their module, in graph order.

    `layers` are the modules that one node computes, by the nodes' names. Of these they are the ones of `TRAINED_TYPES`
    that have weights of their own.
    """
    modules = dict(model.named_modules())
    owners = Counter(id(parameter) for module in modules.values() for parameter in module.parameters(recurse=False))
    return {
        name: able
        for name, able in trainable_layers(graph).items()
        if layers.get(name) == name and type(modules[name]) in TRAINED_TYPES and owners[id(modules[name].weight)] == 1
    }


def retrain_plan(
    model: nn.Module, graph: Graph, layers: Mapping[str, str], training: ResolvedTraining
) -> tuple[PlannedLayer, ...]:
    """The layers that are trained, in graph order. Layers that read one value with equal settings share its range.

    `layers` are as in `trainable_modules`.
    """
    modules = dict(model.named_modules())
    leaders: dict[tuple[Value, TrainedData], str] = {}
    found: list[PlannedLayer] = []
    for name, layer in training.layers.items():
        node = graph.node(name)
        how = replace(layer, data=_with_minimum(layer.data, node.inputs[0]))
        leader = leaders.setdefault((node.inputs[0], how.data), name)
        follower = _only_reader(node)
        norm = layers.get(follower.name) if follower is not None else None
        folds = norm is not None and isinstance(modules[name], _FOLDED_INTO) and _is_batch_norm(modules[norm])
        found.append(PlannedLayer(name, how, leader, norm if folds else None))
    return tuple(found)


def _only_reader(node: Node) -> Node | None:
    uses = node.graph.uses(node.output)
    return uses[0].node if len(uses) == 1 and not node.graph.is_output(node.output) else None


def _is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm with statistics of its own, without which nothing can be folded."""
    return type(module) in _BATCH_NORMS and getattr(module, "running_mean", None) is not None


def _with_minimum(how: TrainedData, value: Value) -> TrainedData:
    """What is not said of the minimum: it stays 0 behind a layer that gives nothing below 0."""
    return how if how.fixed_min is not None else replace(how, fixed_min=_is_never_negative(producer_of(value)))


def _is_never_negative(node: Node) -> bool:
    bounded = op_def(node).bounded
    return node.op in _NEVER_NEGATIVE or (bounded is not None and not isinstance(bounded.bound(node), str))
