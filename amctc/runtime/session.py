"""ONNX Runtime sessions, the only place that touches the library."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from amctc.dialects.onnx.element_types import numpy_type
from amctc.ir import Value
from amctc.ir.node import Array
from amctc.runtime.lowering.builder import Lowering
from amctc.runtime.providers import providers

_REUSED = frozenset({"float32", "float64", "int8", "uint8", "int16", "int32", "int64"})
_FATAL_ONLY = 4
"""What fails is raised too; a line of the library's own beside the diagnostic helps nobody."""
_UNFAITHFUL_FUSIONS = ["ConvMulFusion", "WeightBiasQuantization"]
"""Optimizations that change results. The first multiplies a convolution's weights by a factor behind it, so that the
sums of a fake-quant model would no longer be those of integers. The second quantizes float weights between pairs of
QuantizeLinear and DequantizeLinear, with one scale for all channels."""


class CannotRun(Exception):
    """ONNX Runtime has no kernel for a node, or refuses it; the text is its reason."""


class Session:
    """One segment of a graph, ready to run where `providers` says.

    Large weights are shared with the graph's own arrays, not copied, and are not bound by protobuf's
    limit of 2 GiB; the arrays must therefore not be changed in place while the session lives.
    Building one raises MemoryError where there is not enough of it, and `CannotRun`.
    With `reuse` the outputs are always written to the same arrays: the next run overwrites them, and
    no run pays for fresh memory, which costs a third of a small network's forward pass.
    """

    def __init__(
        self,
        low: Lowering,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        threads: int | None = None,
        reuse: bool = False,
    ) -> None:
        import onnxruntime as ort

        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._input_names = [low.carried_name(value) for value in inputs]
        self._output_names = [low.carried_name(value) for value in outputs]
        self._carriers = {value: low.carrier(value) for value in (*inputs, *outputs) if low.carrier(value) is not None}
        self._outer = {value: low.dtype(value) for value in outputs if low.carrier(value) is not None}
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        if threads is not None:
            options.intra_op_num_threads = threads
        constants = low.external_constants()
        self._held = [ort.OrtValue.ortvalue_from_numpy(array) for array in constants.values()]
        if constants:
            options.add_external_initializers(list(constants), self._held)
        model = low.model(inputs, outputs, external=True)
        # Where only the data tell a shape, there is nothing to reuse.
        sized = reuse and all(value in low.shapes and low.dtype(value) in _REUSED for value in outputs)
        self._buffers = {v: np.empty(low.shape(v), low.dtype(v)) for v in outputs} if sized else {}
        with _told_errors():
            self._session: Any = ort.InferenceSession(
                model.SerializeToString(),
                options,
                providers=providers(),
                disabled_optimizers=_UNFAITHFUL_FUSIONS,
            )

    def run(self, values: Mapping[Value, Array]) -> dict[Value, Array]:
        """The segment's outputs for its inputs; with `reuse`, in the same arrays at every run.

        Raises MemoryError where there is not enough of it, and `CannotRun`.
        """
        feeds = {
            name: self._fed(value, values[value]) for name, value in zip(self._input_names, self.inputs, strict=True)
        }
        with _told_errors():
            found = self._run(feeds)
        for value, dtype in self._outer.items():
            found[value] = found[value].astype(numpy_type(dtype))
        return found

    def _fed(self, value: Value, array: Array) -> Array:
        carrier = self._carriers.get(value)
        if carrier is not None:
            array = array.astype(carrier)
        # Not `ascontiguousarray`, which gives an array of no axes one.
        return np.asarray(array, order="C")

    def _run(self, feeds: Mapping[str, Array]) -> dict[Value, Array]:
        if not self._buffers:
            found = self._session.run(self._output_names, feeds)
            return dict(zip(self.outputs, found, strict=True))
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name, buffer in zip(self._output_names, self._buffers.values(), strict=True):
            binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        self._session.run_with_iobinding(binding)
        return dict(self._buffers)


@contextmanager
def _told_errors() -> Generator[None, None, None]:
    """What ONNX Runtime raises: MemoryError where memory does not suffice, else `CannotRun`."""
    try:
        yield
    except library_errors() as failure:
        if "Failed to allocate memory" in str(failure) or "bad_alloc" in str(failure):
            raise MemoryError(str(failure)) from failure
        raise CannotRun(_reason(str(failure))) from failure


def library_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises where it cannot build or run a session."""
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    return (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException, RuntimeError, ValueError)


def _reason(text: str) -> str:
    """ONNX Runtime's words without its number of the error, in one line."""
    last = " ".join(text.split()).split("] : ", 1)[-1].split(" : ", 2)[-1]
    return last.rstrip(".")[:300]
