"""The nets of a solver as scripts see them: blobs and weights that training fills and changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.errors import as_caffe_errors, refusal
from amctc.compat.caffe.feeding import MemoryFeeder
from amctc.compat.caffe.net_layers import NetLayer
from amctc.diagnostics import did_you_mean
from amctc.ir.node import Shape
from amctc.output import write_files
from amctc.runtime.executor import blob_values
from amctc.targets.caffe.files import caffemodel
from amctc.training.fed_net import FedNet
from amctc.training.memory_data import MemorySource
from amctc.training.network import ForwardResult

Arrays = dict[str, NDArray[Any]]


class TrainedBlob(Blob):
    """A blob whose `diff` is a gradient that torch has computed."""

    gradient: torch.Tensor | None = None

    @property
    def diff(self) -> NDArray[np.float32]:
        """The gradients, as they are now: zeros where none was computed. Writing into them changes nothing."""
        shape = self.shape  # which looks at what torch has
        if self.gradient is None:
            return super().diff
        return self.gradient.detach().cpu().numpy().reshape(shape)


class ShownNet(FedNet):
    """A net of a solver that keeps all blobs of its last pass, and computes with what scripts write."""

    last: ForwardResult | None = None
    shown: TrainingNet | None = None

    def forward(self, blobs: Sequence[str] = ()) -> ForwardResult:
        del blobs
        if self.shown is None:
            return super().forward()
        self.shown.take_in()
        self.last = super().forward(self.shown.names)
        self.shown.is_new(self.last)
        return self.last


class BlobSource:
    """An Input layer that takes what a script has written into its blobs."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._blobs = blobs

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(blob.shape for blob in self._blobs)

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        del number
        return tuple(blob.array().astype(np.float32) for blob in self._blobs)


class TrainingNet:
    """`solver.net`, or one of `solver.test_nets`.

    `blobs` hold what the last pass gave, `params` are the weights that train: what is written into their `data` counts
    from the next pass on. `diff` of both are the gradients of the last backward pass. With a GPU `data` of a weight is
    a copy, to be asked for anew after every step.
    """

    def __init__(self, fed: ShownNet) -> None:
        self._fed = fed
        graph = fed.graph
        self._values = blob_values(graph)
        sources = {value.blob for name in fed.sources for value in graph.node(name).outputs}
        self.names = tuple(name for name in self._values if name not in sources)
        self.blobs: OrderedDict[str, TrainedBlob] = OrderedDict(
            (name, TrainedBlob(fed.shapes.get(value, (0,)), value.dtype, before=partial(self._look_at, name)))
            for name, value in self._values.items()
        )
        self._stale: set[str] = set()
        self._weights: list[tuple[torch.Tensor, TrainedBlob]] = []
        self.params: OrderedDict[str, list[TrainedBlob]] = OrderedDict(
            (name, [self._weight(weight.tensor, weight.shape) for weight in weights.values()])
            for name, weights in fed.network.table.weights.items()
        )
        self.inputs = [value.blob for node in graph.nodes if node.type == "Input" for value in node.outputs]
        self.outputs = sorted(value.blob for value in graph.outputs)
        self.layers = [NetLayer(node, self.params.get(node.name, ())) for node in graph.nodes]
        self.layer_dict = OrderedDict(zip((node.name for node in graph.nodes), self.layers, strict=True))
        self.bottom_names = OrderedDict((node.name, [value.blob for value in node.inputs]) for node in graph.nodes)
        self.top_names = OrderedDict((node.name, [value.blob for value in node.outputs]) for node in graph.nodes)
        self._feeders = [
            MemoryFeeder(graph.node(name), source)
            for name, source in fed.sources.items()
            if isinstance(source, MemorySource) and graph.node(name).type == "MemoryData"
        ]
        fed.sources = {**fed.sources, **self._written_inputs()}
        fed.shown = self

    # -- for scripts -----------------------------------------------------------------------------

    def forward(self, blobs: Sequence[str] | None = None, **kwargs: ArrayLike) -> Arrays:
        """Run the next batch, and give the outputs and `blobs` by name. Inputs may be given by name.

        Raises KeyError for a blob that is not there, `CaffeError` where the net cannot run.
        """
        asked = {name: self._blob(name) for name in (*self.outputs, *(blobs or ()))}
        for name, array in kwargs.items():
            self._blob(name).data[...] = np.asarray(array)
        with as_caffe_errors():
            self._fed.forward()
        return {name: blob.data for name, blob in asked.items()}

    def backward(self) -> Arrays:
        """Compute the gradients of the loss of the last pass, and add them to those of the weights; gives nothing.

        Raises `CaffeError` (AM661) where no pass was made in phase TRAIN.
        """
        try:
            self._fed.network.backward()
        except ValueError:
            raise refusal(
                "AM661", "`net.backward` goes back a forward pass of phase TRAIN, and none was made"
            ) from None
        return {}

    def clear_param_diffs(self) -> None:
        """Set the gradients of the weights to zero."""
        self._fed.network.zero_gradients()

    def set_input_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Give the MemoryData layer its images and labels. Raises AM666 where they do not fit or there is none."""
        if not self._feeders:
            raise refusal("AM666", "`set_input_arrays` feeds a MemoryData layer, and this net has none")
        self._feeders[0].set_arrays(data, labels)
        self._fed.position = 0

    def copy_from(self, weights: str | Path) -> None:
        """Copy the weights of layers with the same names out of a caffemodel. Raises `CaffeError`."""
        self.take_in()
        with as_caffe_errors():
            self._fed.load(weights)

    def save(self, path: str | Path) -> None:
        """Write the weights to a caffemodel, whole or not at all. Raises `CaffeError` (AM700)."""
        self.take_in()
        self._fed.network.write_back()
        with as_caffe_errors():
            write_files({Path(path): caffemodel(self._fed.graph, fake=False)})

    def share_with(self, other: TrainingNet) -> None:
        """Copy the weights of another net's layers of the same names. Raises `CaffeError` (AM671) where they differ."""
        for name, theirs in other.params.items():
            for own, their in zip(self.params.get(name, ()), theirs, strict=False):
                if own.shape != their.shape:
                    raise refusal("AM671", f"layer `{name}` has a blob of {own.shape} here and of {their.shape} there")
                own.data[...] = their.data

    def reshape(self) -> None:
        """Nothing: blobs have the shape of what the last pass gave."""

    # -- for the solver --------------------------------------------------------------------------

    def take_in(self) -> None:
        """Compute with what has been written into the weights. On a CPU they are one memory."""
        for tensor, blob in self._weights:
            if tensor.device.type != "cpu" and blob.is_held:
                with torch.no_grad():
                    tensor.view(-1).copy_(torch.from_numpy(blob.array().reshape(-1)))

    def is_new(self, result: ForwardResult) -> None:
        """The blobs are those of this pass now; each is copied when it is looked at, or where somebody holds it."""
        self._stale = set(self.blobs)
        found = {**result.inputs, **result.blobs}
        for name, blob in self.blobs.items():
            tensor = found.get(name)
            blob.gradient = None
            if tensor is None:
                self._stale.discard(name)
            elif blob.is_held:
                self._copy(name)

    def _look_at(self, name: str) -> None:
        if name in self._stale:
            self._copy(name)
        tensor = self._tensor(name)
        if tensor is not None and tensor.requires_grad:
            self.blobs[name].gradient = tensor.grad

    def _copy(self, name: str) -> None:
        self._stale.discard(name)
        tensor = self._tensor(name)
        if tensor is not None:
            self.blobs[name].store(tensor.detach().cpu().numpy())

    def _tensor(self, name: str) -> torch.Tensor | None:
        last = self._fed.last
        if last is None:
            return None
        return last.blobs.get(name, last.inputs.get(name))

    def _weight(self, tensor: torch.Tensor, shape: Shape) -> TrainedBlob:
        blob = TrainedBlob(shape)
        if tensor.device.type == "cpu":
            blob.adopt(tensor.detach().numpy())
        blob = self._following(tensor, blob)
        self._weights.append((tensor, blob))
        return blob

    def _following(self, tensor: torch.Tensor, blob: TrainedBlob) -> TrainedBlob:
        def refresh() -> None:
            blob.gradient = tensor.grad
            if tensor.device.type != "cpu" and not blob.is_held:
                blob.store(tensor.detach().cpu().numpy().reshape(blob.array().shape))

        blob.looked_at_by(refresh)
        return blob

    def _written_inputs(self) -> Mapping[str, BlobSource]:
        graph = self._fed.graph
        return {
            node.name: BlobSource([self.blobs[value.blob] for value in node.outputs])
            for node in graph.nodes
            if node.type == "Input"
        }

    def _blob(self, name: str) -> TrainedBlob:
        if name not in self.blobs:
            hint = did_you_mean(name, self.blobs)
            raise KeyError(f"{name}: {hint}" if hint else name)
        return self.blobs[name]
