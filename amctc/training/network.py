"""A graph run in torch, forwards and backwards, as Caffe runs a net."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amctc.dialects.caffe.loss import loss_weights
from amctc.dialects.retrain import DATA_OP
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.runtime.executor import blob_values, find_blob, graph_inputs
from amctc.runtime.plan import last_readers
from amctc.training.backward_plan import backward_plan
from amctc.training.device import find_device
from amctc.training.feeding import Feed, fed_tensors
from amctc.training.layers.layer import Layer, Phase
from amctc.training.layers.retrain import learned_clips
from amctc.training.parameters import Parameter, ParameterTable, parameter_table, read_weights, written_weights
from amctc.training.quantizers import UlqState
from amctc.training.step import Step, check_layers

_NOTHING: Mapping[str, Feed] = MappingProxyType({})


@dataclass(frozen=True)
class ForwardResult:
    """What a pass gave: `loss`, the weighted sum of the losses (float32, no axes, 0 where there is none), and values.

    `inputs` are the blobs that were fed, `outputs` those that no layer reads, `blobs` those that were asked for, the
    last value of each name.
    """

    loss: Tensor
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    blobs: Mapping[str, Tensor]


class Network:
    """A net that learns: the layers of a Caffe graph in torch, with Caffe's gradients.

    `phase` decides what Dropout and BatchNorm do. The tensors of `parameters` begin as copies of the graph's weights;
    the graph is not touched before `write_back`, and must not be changed while the network lives. A `shared` network's
    tensors are used by the layers that have the same names there, as by a test net that watches its train net.
    Gradients are recorded in phase TRAIN, or with `force_backward`, which gives the inputs theirs too, and all weights
    whatever their `lr_mult`. `seed` is that of Dropout.

    Raises `DiagnosticError`: AM901 for a layer that training cannot run, AM902 for one that gradients would have to go
    through and cannot, AM903 and AM904 for shared parameters that do not fit, AM905 for a wrong `propagate_down`,
    AM906 for a device that is not there.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        phase: Phase,
        shared: Network | None = None,
        device: str | torch.device = "cpu",
        force_backward: bool = False,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.phase: Phase = phase
        self.device = find_device(device)
        self.records = force_backward or phase == "TRAIN"
        """Whether passes can be differentiated."""
        self._force = force_backward
        self._random = torch.Generator(self.device).manual_seed(seed)
        there = None if shared is None else shared.table
        self.table: ParameterTable = parameter_table(graph, self.device, everything=force_backward, shared=there)
        self._losses = _loss_values(graph)
        learning = {
            layer for layer, own in self.table.weights.items() if any(w.tensor.requires_grad for w in own.values())
        }
        plan = backward_plan(graph, learning, self._losses.keys())
        layers = [
            Layer(node, phase, self.table.weights.get(node.name, {}), self._random, _clips(node, phase))
            for node in graph.nodes
            if not op_def(node).source
        ]
        check_layers(layers, plan.active if self.records else frozenset())
        self._steps = tuple(Step(layer, frozenset() if force_backward else plan.stopped) for layer in layers)
        self._inputs = graph_inputs(graph)
        self._declared = infer_shapes(graph)
        self._needed = {value for step in self._steps for value in step.inputs if op_def(value.producer).source}
        self._latest = blob_values(graph)
        self._outputs = {value.blob: value for value in graph.outputs}
        self._last_reads = last_readers(self._steps)
        self._last: ForwardResult | None = None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The learnable parameters, each once, in Caffe's order."""
        return self.table.learnable

    def forward(self, feeds: Mapping[str, Feed], *, blobs: Collection[str] = ()) -> ForwardResult:
        """Run one batch. `feeds` has an array or a tensor for each input that is read, by blob name.

        They are copied, but for float32 tensors on the network's device. `blobs` names what is wanted besides the
        outputs; where passes are recorded, `backward` fills the `grad` of these tensors, and with `force_backward` also
        that of the inputs. Statistics of BatchNorm move as in Caffe. Raises `DiagnosticError` as `check_feeds` does,
        and AM320 where a layer does not fit the batch, AM408 for an unknown blob, AM420 for missing weights, AM421
        where memory does not suffice.
        """
        wanted = {name: find_blob(self._latest, name) for name in blobs}
        kept = {*wanted.values(), *self._outputs.values()}
        with torch.set_grad_enabled(self.records):
            values = self._fed(feeds)
            inputs = MappingProxyType({value.blob: tensor for value, tensor in values.items()})
            loss = torch.zeros((), device=self.device)
            for number, step in enumerate(self._steps):
                for value, top in step.run(values).items():
                    values[value] = top
                    if value in self._losses:
                        loss = loss + (top.sum() if top.dim() else top) * self._losses[value]
                    if value in wanted.values() and top.requires_grad:
                        top.retain_grad()
                for value in self._last_reads.get(number, ()):
                    if value not in kept:
                        del values[value]
        found = ForwardResult(loss, inputs, _named(self._outputs, values), _named(wanted, values))
        self._last = found if self.records else None
        return found

    def backward(self, diffs: Mapping[str, Feed] = _NOTHING) -> None:
        """Add the gradients of the last pass to the `grad` of the parameters' tensors; a pass can be gone back once.

        Without `diffs` it is the loss that is differentiated; otherwise the blobs that `diffs` names, outputs or others
        that were asked for, each weighted by an array or a tensor of its shape. Nothing happens where nothing learns.
        ValueError where no pass was recorded, KeyError for a blob that the pass did not keep.
        """
        if self._last is None:
            raise ValueError("there is no recorded pass to go back")
        last, self._last = self._last, None
        known = {**last.outputs, **last.blobs}
        weighted = [(known[name], _like(known[name], diff)) for name, diff in diffs.items()]
        ends = [pair for pair in weighted or [(last.loss, torch.ones_like(last.loss))] if pair[0].requires_grad]
        if ends:
            torch.autograd.backward([end for end, _ in ends], [weight for _, weight in ends])

    def zero_gradients(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.tensor.grad = None

    @property
    def clips(self) -> Mapping[str, UlqState]:
        """What the layers that learn a range of data remember, by layer; none in phase TEST."""
        layers = (step.layer for step in self._steps)
        return {layer.node.name: layer.clips for layer in layers if layer.clips is not None}

    def mend_clips(self) -> None:
        """Put the clips of data that a step has spoilt back to those of before; the next pass would do it too.

        To be called after each update, so that a test and a snapshot see good ones.
        """
        for step in self._steps:
            layer = step.layer
            if layer.clips is not None:
                layer.clips.mend(layer.stored("clip_max"), layer.stored("clip_min"))

    def seed(self, seed: int) -> None:
        """Begin the random numbers of Dropout anew."""
        self._random.manual_seed(seed)

    def forget(self) -> None:
        """Let recurrent layers begin anew with the next batch."""
        for step in self._steps:
            step.layer.memory.clear()

    def weights(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Copies of all weights by layer and role; layers that share one have one array, or views of it."""
        return written_weights(self.table)

    def write_back(self) -> None:
        """Put copies of the weights as they are by now into the graph."""
        for layer, arrays in self.weights().items():
            self.graph.node(layer).weights.update(arrays)

    def read_weights(self) -> None:
        """Take the weights of the graph anew, into the same tensors."""
        read_weights(self.graph, self.table)

    def _fed(self, feeds: Mapping[str, Feed]) -> dict[Value, Tensor]:
        found = fed_tensors(feeds, self._inputs, self._declared, self._needed, self.device)
        if self._force:
            return {value: tensor.requires_grad_() for value, tensor in found.items()}
        return found


def _clips(node: Node, phase: Phase) -> UlqState | None:
    return learned_clips(node) if node.op == DATA_OP and phase == "TRAIN" else None


def _loss_values(graph: Graph) -> dict[Value, float]:
    """The values that count as loss, with their weights."""
    pairs = (pair for node in graph.nodes for pair in zip(node.outputs, loss_weights(node), strict=True))
    return {value: weight for value, weight in pairs if weight}


def _named(names: Mapping[str, Value], values: Mapping[Value, Tensor]) -> Mapping[str, Tensor]:
    return MappingProxyType({name: values[value] for name, value in names.items() if value in values})


def _like(tensor: Tensor, diff: Feed) -> Tensor:
    return torch.as_tensor(diff, dtype=tensor.dtype, device=tensor.device).reshape(tensor.shape)
