"""ONNX Runtime sessions, the only place that touches the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amctc.ir import Value
from amctc.ir.graph import Array
from amctc.runtime.lowering.builder import Lowering

_ERRORS_ONLY = 3


class Session:
    """One segment of a graph, ready to run on the CPU.

    Large weights are shared with the graph's own arrays, not copied, and are not bound by protobuf's
    limit of 2 GiB; the arrays must therefore not be changed in place while the session lives.
    """

    def __init__(
        self, low: Lowering, inputs: Sequence[Value], outputs: Sequence[Value], threads: int | None = None
    ) -> None:
        import onnxruntime as ort

        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._input_names = [low.name(value) for value in inputs]
        self._output_names = [low.name(value) for value in outputs]
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        if threads is not None:
            options.intra_op_num_threads = threads
        constants = low.external_constants()
        self._held = [ort.OrtValue.ortvalue_from_numpy(array) for array in constants.values()]
        if constants:
            options.add_external_initializers(list(constants), self._held)
        model = low.model(inputs, outputs, external=True)
        self._session: Any = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, values: Mapping[Value, Array]) -> dict[Value, Array]:
        """The segment's outputs for its inputs."""
        feeds = {
            name: np.asarray(values[value], order="C")  # keeps a scalar a scalar, unlike ascontiguousarray
            for name, value in zip(self._input_names, self.inputs, strict=True)
        }
        found = self._session.run(self._output_names, feeds)
        return dict(zip(self.outputs, found, strict=True))
