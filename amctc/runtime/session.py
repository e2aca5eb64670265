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
    `in_turn` says that other sessions run between two runs of this one: its threads then sleep at the end of a run.
    Building one raises MemoryError where there is not enough of it, and `CannotRun`.
    It may be run by several threads at the same time.
    """

    def __init__(
        self,
        low: Lowering,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        threads: int | None = None,
        in_turn: bool = False,
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
        # A pattern makes one block of all that a run needs, beside what the first run left; it saves no time here.
        options.enable_mem_pattern = False
        if threads is not None:
            options.intra_op_num_threads = threads
        if in_turn:  # threads that wait for their session's next work keep the cores busy, which the others need
            options.add_session_config_entry("session.force_spinning_stop", "1")
        constants = low.external_constants()
        self._held = [ort.OrtValue.ortvalue_from_numpy(array) for array in constants.values()]
        if constants:
            options.add_external_initializers(list(constants), self._held)
        model = low.model(inputs, outputs, external=True)
        with _told_errors():
            self._session: Any = ort.InferenceSession(
                model.SerializeToString(),
                options,
                providers=providers(),
                disabled_optimizers=_UNFAITHFUL_FUSIONS,
            )

    def run(self, values: Mapping[Value, Array]) -> dict[Value, Array]:
        """The segment's outputs for its inputs.

        Raises MemoryError where there is not enough of it, and `CannotRun`.
        """
        feeds = {
            name: self._fed(value, values[value]) for name, value in zip(self._input_names, self.inputs, strict=True)
        }
        with _told_errors():
            found = dict(zip(self.outputs, self._session.run(self._output_names, feeds), strict=True))
        for value, dtype in self._outer.items():
            found[value] = found[value].astype(numpy_type(dtype))
        return found

    def _fed(self, value: Value, array: Array) -> Array:
        carrier = self._carriers.get(value)
        if carrier is not None:
            array = array.astype(carrier)
        # Not `ascontiguousarray`, which gives an array of no axes one.
        return np.asarray(array, order="C")


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
