"""`caffe.Net`: a network that runs on blobs which scripts read and write."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.compat.caffe.blobs import Blob
from amctc.compat.caffe.errors import LOG, CaffeError, as_caffe_errors, no_training, refusal
from amctc.compat.caffe.feeding import MemoryFeeder, feeders
from amctc.compat.caffe.net_arguments import NetArguments
from amctc.compat.caffe.net_layers import NetLayer, loss_weights
from amctc.compat.caffe.parameters import Parameters
from amctc.compat.caffe.runner import Runner
from amctc.diagnostics import Collector, did_you_mean
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.output import write_files
from amctc.runtime.calibration_session import CalibrationSession
from amctc.targets.caffe.calibration_model import calibration_model
from amctc.targets.caffe.files import caffemodel

if TYPE_CHECKING:
    from amctc.compat.caffe.training_net import TrainingNet

Arrays = dict[str, NDArray[Any]]


class Net:
    """A Caffe network, ready to run.

    `Net(prototxt, caffemodel, phase)`, `Net(prototxt, phase, weights=caffemodel)` or `Net(prototxt,
    phase)`, where fillers make the weights; `level` and `stages` as in Caffe. `blobs`, `params` and
    `layer_dict` are by name and in order, `inputs` and `outputs` are names of blobs. Layers that
    Caffe inserts by itself (Split) are not shown. Raises `CaffeError` for files that cannot be read or
    make no network, `CaffeArgumentError` (AM660) for arguments that no form has.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        given = NetArguments.of(args, kwargs)
        collector = Collector()
        with as_caffe_errors():
            graph = load_caffe(given.network_file, None, collector, state=given.state, keep_training=True)
            self._feeders = feeders(graph)
            declared = {
                value.blob: shape
                for name, feeder in self._feeders.items()
                for value, shape in zip(graph.node(name).outputs, feeder.shapes(), strict=True)
            }
            shapes = annotate_shapes(graph, declared)
            self._parameters = Parameters(graph, shapes, given.weights)
            self._runner = Runner(graph, shapes, self._feeders, self._parameters)
        for warning in collector.warnings:
            LOG.warning("%s", warning)
        if given.state.phase == "TRAIN":
            LOG.warning("phase TRAIN: as in training, but nothing is learned beside the statistics of BatchNorm layers")
        self._graph = graph
        self.blobs: OrderedDict[str, Blob] = self._runner.blobs
        self.params: OrderedDict[str, list[Blob]] = self._parameters.blobs
        self.inputs: list[str] = [v.blob for node in graph.nodes if node.op == "caffe.Input" for v in node.outputs]
        self.outputs: list[str] = self._runner.outputs
        self._layer_names: list[str] = [node.name for node in graph.nodes]
        self._blob_names: list[str] = list(self.blobs)
        self.layers: list[NetLayer] = [NetLayer(node, self.params.get(node.name, ())) for node in graph.nodes]
        self.layer_dict: OrderedDict[str, NetLayer] = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.bottom_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [value.blob for value in node.inputs]) for node in graph.nodes
        )
        self.top_names: OrderedDict[str, list[str]] = OrderedDict(
            (node.name, [value.blob for value in node.outputs]) for node in graph.nodes
        )

    # -- running ---------------------------------------------------------------------------------

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: ArrayLike,
    ) -> Arrays:
        """Run the layers from `start` to `end` (default: all), and give the output blobs and `blobs` by name.

        Inputs may be given by name, all of them or none, each as long as its blob. The arrays are those of `net.blobs`,
        which the next run overwrites. Raises ValueError for a layer and KeyError for a blob that is
        not there, Exception for wrong inputs, `CaffeError` where the net cannot run.
        """
        first = 0 if start is None else self._layer_names.index(start)
        last = len(self._layer_names) - 1 if end is None else self._layer_names.index(end)
        names = [*(self.outputs if end is None else self.top_names[end]), *(blobs or ())]
        asked = {name: self._blob(name) for name in names}
        if kwargs:
            self._take_inputs(kwargs)
        self._runner.run(first, last, asked)
        return {name: blob.data for name, blob in asked.items()}

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: ArrayLike) -> Arrays:
        """Run any number of samples in batches of the net's own size, and give the outputs and `blobs` of all.

        The last batch is filled up with zeros, whose results are cut off. Raises as `forward` does.
        """
        given = {name: np.asarray(array) for name, array in kwargs.items()}
        counts = {array.shape[:1] for array in given.values()}
        count = math.prod(counts.pop()) if len(counts) == 1 else 0
        if count == 0:
            raise refusal("AM661", "`forward_all` takes arrays of one length, and at least one sample")
        size = max(1, self._blob(next(iter(given))).num)
        found: dict[str, list[NDArray[Any]]] = {}
        for begin in range(0, count, size):
            parts = {name: array[begin : begin + size] for name, array in given.items()}
            batch: dict[str, Any] = {name: _filled_up(array, size) for name, array in parts.items()}
            for name, array in self.forward(blobs=blobs, **batch).items():
                found.setdefault(name, []).append(np.atleast_1d(array).copy())
        padded = -(-count // size) * size
        whole = {name: np.concatenate(arrays) for name, arrays in found.items()}
        return {name: array[:count] if len(array) == padded else array for name, array in whole.items()}

    def reshape(self) -> None:
        """Give every blob the shape that it has for the inputs as they are now. Raises `CaffeError` (AM320)."""
        self._runner.reshape()

    def backward(self, diffs: Sequence[str] | None = None, **kwargs: ArrayLike) -> Arrays:
        """Raises `CaffeError` (AM667)."""
        raise no_training("net.backward")

    def forward_backward_all(self, *args: object, **kwargs: object) -> tuple[Arrays, Arrays]:
        """Raises `CaffeError` (AM667)."""
        raise no_training("net.forward_backward_all")

    def clear_param_diffs(self) -> None:
        """Set the gradients of the weights to zero."""
        for blob in (blob for blobs in self.params.values() for blob in blobs):
            blob.diff[...] = 0

    def set_input_arrays(self, data: ArrayLike, labels: ArrayLike) -> None:
        """Give the MemoryData layer its images and labels. Raises AM666 where they do not fit or there is none."""
        feeder = next((found for found in self._feeders.values() if isinstance(found, MemoryFeeder)), None)
        if feeder is None:
            raise refusal("AM666", "`set_input_arrays` feeds a MemoryData layer, and this net has none")
        feeder.set_arrays(data, labels)

    # -- weights ---------------------------------------------------------------------------------

    def copy_from(self, weights: str | Path) -> None:
        """Copy the weights of layers with the same names out of a caffemodel.

        Raises `CaffeError` where the file cannot be read (AM310 to AM312) or its blobs do not fit (AM314).
        """
        self._runner.load_weights(str(weights))

    def share_with(self, other: Net | TrainingNet) -> None:
        """Use the memory of another net's weights for layers of the same names. Raises `CaffeError` (AM671)."""
        self._parameters.share_with(other.params)

    def save(self, path: str | Path) -> None:
        """Write the weights to a caffemodel, whole or not at all. Raises `CaffeError` (AM700)."""
        self._runner.take_in_weights()
        with as_caffe_errors():
            write_files({Path(path): _weights_file(self._graph)})

    def save_hdf5(self, path: str | Path) -> None:
        """Raises `CaffeError` (AM669)."""
        raise _no_hdf5("save_hdf5", path)

    def load_hdf5(self, path: str | Path) -> None:
        """Raises `CaffeError` (AM669)."""
        raise _no_hdf5("load_hdf5", path)

    # -- names that some scripts use ----------------------------------------------------------------

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """By how much each blob counts in the loss."""
        tops = (
            (value.blob, weight)
            for node in self._graph.nodes
            for value, weight in zip(node.outputs, loss_weights(node), strict=True)
        )
        return OrderedDict(tops)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    @property
    def _inputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.outputs]

    def _bottom_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self.bottom_names[self._layer_names[layer]]]

    def _top_ids(self, layer: int) -> list[int]:
        return [self._blob_names.index(name) for name in self.top_names[self._layer_names[layer]]]

    def _forward(self, start: int, end: int) -> float:
        """Run the layers number `start` to `end`, and give the loss."""
        tops = {name for layer in self._layer_names[start : end + 1] for name in self.top_names[layer]}
        weights = {name: weight for name, weight in self.blob_loss_weights.items() if weight and name in tops}
        self._runner.run(start, end, weights)
        return float(sum(weight * self.blobs[name].data.sum() for name, weight in weights.items()))

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            hint = did_you_mean(name, self.blobs)
            raise KeyError(f"{name}: {hint}" if hint else name)
        return self.blobs[name]

    def _take_inputs(self, given: Mapping[str, ArrayLike]) -> None:
        """Put arrays into the inputs. The exceptions and their words are those that scripts know."""
        if set(given) != set(self.inputs):
            names = ", ".join(self.inputs) or "none"
            raise Exception(f"Input blob arguments do not match net inputs: they are {names}.")
        arrays = {name: np.asarray(array) for name, array in given.items()}
        for name, array in arrays.items():
            blob = self.blobs[name]
            if array.shape[:1] != blob.shape[:1]:
                found = f"{array.shape} for {blob.shape}"
                raise Exception(f"Input is not batch sized: `{name}` has {found}; net.blobs[...].reshape changes it.")
            blob.data[...] = array


def _weights_file(graph: Graph) -> bytes:
    """The caffemodel of a float, calibration, fake-quant or deploy model."""
    if CalibrationSession.is_needed(graph):
        # Neither the number of batches nor the record is said in this one of the two files.
        return calibration_model(graph, batch_num=1, record_file="").caffemodel
    fake = any(node.attrs.get("centered") for node in graph.nodes if node.dialect == "quant")
    return caffemodel(graph, fake=fake)


def _filled_up(array: NDArray[Any], size: int) -> NDArray[Any]:
    missing = size - len(array)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else array


def _no_hdf5(what: str, path: str | Path) -> CaffeError:
    help = "`net.save(path)` and `net.copy_from(path)` write and read caffemodels"
    return refusal("AM669", f"`net.{what}({str(path)!r})`: weights in HDF5 are not read or written", help=help)
