"""insert-retrain-quant: make a network one that is trained quantized."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from amctc.dialects.caffe.params import params
from amctc.dialects.retrain import DATA_OP, WEIGHT_PARAMETER, initial_clips, is_trained, weight_parameter
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Provenance, Use, Value
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.policy.resolve_training import ResolvedTraining, TrainedData, TrainedLayer, trainable_layers, usual_training
from amctc.runtime.lowering.integer import producer_of
from amctc.text.plain import Plain

_Groups: TypeAlias = dict[tuple[Value, TrainedData], list[Use]]
_DIALECT = "caffe"
_NEVER_NEGATIVE = frozenset({"caffe.ReLU6", "caffe.Sigmoid"})


@dataclass(frozen=True)
class InsertRetrainQuant(Pass):
    """Insert the quantization that a network is trained with: ranges of data that are learned, and weights on a grid.

    Layers that read one value with equal settings share a RetrainData; weights are quantized by the layer itself, in
    every pass. Without a policy of training these are all layers with weights. Where nothing is said of it, the lower
    end of a range stays 0 behind a layer that gives nothing below 0.
    """

    name: ClassVar[str] = "insert-retrain-quant"
    repeatable: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        training = context.training if context.training is not None else _usual(graph)
        layers = {graph.node(name): how for name, how in training.layers.items() if name in graph}
        todo: dict[Node, TrainedLayer] = {}
        for node, how in layers.items():
            if node.dialect != _DIALECT:
                context.refuse(self.name, node.name, "layers of Caffe alone are trained")
            elif not is_trained(node):
                todo[node] = how
        groups: _Groups = {}
        for node, how in todo.items():
            for index in op_def(node).data_inputs(node):
                value = node.inputs[index]
                groups.setdefault((value, _with_minimum(how.data, value)), []).append(Use(node, index))
        for (value, data), uses in groups.items():
            self._insert(graph, value, data, uses, training.batch_num)
        for node, how in todo.items():
            self._quantize_weights(node, how)
        return bool(todo)

    def _insert(self, graph: Graph, value: Value, how: TrainedData, uses: list[Use], batch_num: int) -> None:
        readers = list(dict.fromkeys(use.node.name for use in uses))
        clips: dict[str, Plain] = {}
        if how.clip_max is not None and how.clip_min is not None:
            clips = {"clip_max": how.clip_max, "clip_min": how.clip_min}
        attrs: dict[str, Plain] = {
            **clips,
            "ifmr_init": not clips,
            "batch_num": batch_num,
            "fixed_min": bool(how.fixed_min),
            "layer": "-".join(readers),
            "bits": how.bits,
        }
        name = graph.unused_name(f"{readers[0]}.retrain_data")
        made = graph.insert_before(
            uses, name, DATA_OP, attrs=attrs, weights=initial_clips(attrs), provenance=Provenance(inserted=True)
        )
        made.output.shape = value.shape
        named = ", ".join(f"`{reader}`" for reader in readers)
        made.record(self.name, f"learns the range of the data of {named}")

    def _quantize_weights(self, node: Node, how: TrainedLayer) -> None:
        if how.weights is None:
            return
        node.attrs[WEIGHT_PARAMETER] = weight_parameter(node, how.weights)
        each = "one scale for each output channel" if how.weights.channel_wise else "one scale"
        node.record(self.name, f"weights of {how.weights.bits} bits in training, {each}")


def _usual(graph: Graph) -> ResolvedTraining:
    able = {name: each for name, each in trainable_layers(graph).items() if each.quantizable.weights}
    return ResolvedTraining({name: usual_training(each) for name, each in able.items()}, {})


def _with_minimum(how: TrainedData, value: Value) -> TrainedData:
    return how if how.fixed_min is not None else replace(how, fixed_min=_is_never_negative(value))


def _is_never_negative(value: Value) -> bool:
    """Whether the layer that gives a value, seen through those that only move elements, is one that cuts at 0."""
    node = producer_of(value)
    if node.op == "caffe.ReLU":
        return float(params(node, "relu_param").negative_slope) == 0
    return node.op in _NEVER_NEGATIVE
