"""The nets of a solver as scripts see them: blobs and weights that training fills and changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.errors import as_caffe_errors, refusal
from amctc.compat.caffe.feeding import MemoryFeeder
from amctc.compat.caffe.net_layers import NetLayer, output_names
from amctc.compat.caffe.retraining import NetRetraining
from amctc.diagnostics import did_you_mean
from amctc.ir.node import Shape
from amctc.output import write_files
from amctc.runtime.executor import blob_values
from amctc.targets.caffe.files import caffemodel
from amctc.training.memory_data import MemorySource

if TYPE_CHECKING:
    from amctc.training.shown_net import ShownNet, ShownWeight

Arrays = dict[str, NDArray[Any]]


class TrainedBlob(Blob):
    """A blob whose `diff` is a gradient that training has computed."""

    def __init__(
        self, shape: Shape, dtype: str, before: Callable[[], None], gradient: Callable[[], NDArray[np.float32] | None]
    ) -> None:
        super().__init__(shape, dtype, before)
        self._gradient = gradient

    @property
    def diff(self) -> NDArray[np.float32]:
        """The gradients as they are now, zeros where there are none."""
        shape, found = self.shape, self._gradient()
        return super().diff if found is None else found.reshape(shape)


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

    def __init__(self, net: ShownNet) -> None:
        self._net = net
        graph = net.graph
        self._stale: set[str] = set()
        """Blobs that have not been looked at since the last pass."""
        self.blobs: OrderedDict[str, TrainedBlob] = OrderedDict(
            (
                name,
                TrainedBlob(
                    net.shapes.get(value, (0,)), value.dtype, partial(self._look_at, name), partial(net.gradient, name)
                ),
            )
            for name, value in blob_values(graph).items()
        )
        self._weights: list[tuple[ShownWeight, TrainedBlob]] = []
        self.params: OrderedDict[str, list[TrainedBlob]] = OrderedDict(
            (layer, [self._shown(weight) for weight in weights]) for layer, weights in net.weights().items()
        )
        self.inputs: list[str] = [v.blob for node in graph.nodes if node.type == "Input" for v in node.outputs]
        self.outputs: list[str] = output_names(graph)
        self.layers: list[NetLayer] = [NetLayer(node, self.params.get(node.name, ())) for node in graph.nodes]
        names = [node.name for node in graph.nodes]
        self.layer_dict: OrderedDict[str, NetLayer] = OrderedDict(zip(names, self.layers, strict=True))
        self.bottom_names = OrderedDict((node.name, [value.blob for value in node.inputs]) for node in graph.nodes)
        self.top_names = OrderedDict((node.name, [value.blob for value in node.outputs]) for node in graph.nodes)
        self._feeders = [
            MemoryFeeder(graph.node(name), source)
            for name, source in net.sources.items()
            if isinstance(source, MemorySource) and graph.node(name).type == "MemoryData"
        ]
        written = {
            node.name: BlobSource([self.blobs[value.blob] for value in node.outputs])
            for node in graph.nodes
            if node.type == "Input"
        }
        net.sources = {**net.sources, **written}
        net.before, net.after = self._take_in, self._pass_made
        self._record = NetRetraining.of(graph) if net.network.phase == "TEST" else None

    def forward(self, blobs: Sequence[str] | None = None, **kwargs: ArrayLike) -> Arrays:
        """Run the next batch, and give the outputs and `blobs` by name. Inputs may be given by name.

        A test net that is a model under quantization-aware training writes its record, where that is not current.
        Raises KeyError for a blob that is not there, `CaffeError` where the net cannot run.
        """
        asked = {name: self._blob(name) for name in (*self.outputs, *(blobs or ()))}
        for name, array in kwargs.items():
            self._blob(name).data[...] = np.asarray(array)
        with as_caffe_errors():
            self._net.forward()
        self.write_record()
        return {name: blob.data for name, blob in asked.items()}

    def write_record(self) -> None:
        """Write what a model under quantization-aware training writes in phase TEST, where this is one."""
        if self._record is not None:
            self._net.network.write_back()
            self._record.write()

    def backward(self) -> Arrays:
        """Compute the gradients of the loss of the last pass, and add them to those of the weights; gives nothing.

        Raises `CaffeError` (AM661) where no pass was made in phase TRAIN, or it has been gone back already.
        """
        try:
            self._net.network.backward()
        except ValueError:
            message = "`net.backward` goes back a forward pass of phase TRAIN, and there is none"
            raise refusal("AM661", message, help="call `net.forward()` first") from None
        return {}

    def clear_param_diffs(self) -> None:
        """Set the gradients of the weights to zero."""
        self._net.network.zero_gradients()

    def set_input_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Give the MemoryData layer its images and labels. Raises AM666 where they do not fit or there is none."""
        if not self._feeders:
            raise refusal("AM666", "`set_input_arrays` feeds a MemoryData layer, and this net has none")
        self._feeders[0].set_arrays(data, labels)
        self._net.position = 0

    def copy_from(self, weights: str | Path) -> None:
        """Copy the weights of layers with the same names out of a caffemodel. Raises `CaffeError`."""
        self._take_in()
        with as_caffe_errors():
            self._net.load(weights)

    def save(self, path: str | Path) -> None:
        """Write the weights to a caffemodel, whole or not at all. Raises `CaffeError` (AM700)."""
        self._take_in()
        self._net.network.write_back()
        with as_caffe_errors():
            write_files({Path(path): caffemodel(self._net.graph, fake=False)})

    def reshape(self) -> None:
        """Nothing: blobs have the shape of what the last pass gave."""

    def _take_in(self) -> None:
        """Compute with what has been written into the weights. On a CPU they are one memory."""
        for weight, blob in self._weights:
            if not weight.is_shared and blob.is_held:
                weight.write(blob.array())

    def _pass_made(self) -> None:
        """The blobs are others now: each is copied when it is looked at, or at once where somebody holds it."""
        self._stale = set(self.blobs)
        for name, blob in self.blobs.items():
            if blob.is_held:
                self._look_at(name)

    def _look_at(self, name: str) -> None:
        if name not in self._stale:
            return
        self._stale.discard(name)
        found = self._net.array(name)
        if found is not None:
            self.blobs[name].store(found)

    def _shown(self, weight: ShownWeight) -> TrainedBlob:
        def before() -> None:
            if not weight.is_shared and not blob.is_held:
                blob.store(weight.array())

        blob = TrainedBlob(weight.shape, "float32", before, weight.gradient)
        if weight.is_shared:
            blob.adopt(weight.array())
        self._weights.append((weight, blob))
        return blob

    def _blob(self, name: str) -> TrainedBlob:
        if name not in self.blobs:
            hint = did_you_mean(name, self.blobs)
            raise KeyError(f"{name}: {hint}" if hint else name)
        return self.blobs[name]
