"""A recorded case run anew: every blob and layer's own top as we have it, beside the recorded one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph, Value
from amctc.runtime.executor import Executor, blob_values
from tests.fork_proto import fork_proto
from tests.runtime.caffe_cases import CaffeCase

HUGE = 1e30
"""Above this a value must be the same: next to -FLT_MAX, which pooling gives for empty windows, nothing else counts."""


@dataclass(frozen=True)
class Compared:
    """A recorded array: its name, the type of the layer that made it, and the array as we have it."""

    name: str
    type: str
    found: NDArray[np.generic]
    expected: NDArray[np.float32]

    @property
    def difference(self) -> float:
        """The largest difference over the largest magnitude, without what is huge or not finite.

        Infinity where the shapes differ, what is huge or not finite is not the same, or zeros are not zeros.
        """
        # The whole nets' tops were recorded for the first few samples only.
        array = np.asarray(self.found, np.float64)
        array = array[: len(self.expected)] if self.expected.ndim else array
        usual = np.isfinite(self.expected) & (np.abs(self.expected) <= HUGE)
        if array.shape != self.expected.shape:
            return np.inf
        if not np.array_equal(array[~usual], self.expected[~usual], equal_nan=True):
            return np.inf
        apart = float(np.abs(array[usual] - self.expected[usual]).max(initial=0))
        largest = float(np.abs(self.expected[usual]).max(initial=0))
        if not apart:
            return 0
        return apart / largest if largest else np.inf


def write_fork_proto(folder: Path) -> Path:
    """The fork's own proto, but for a layer field whose number is ATC's for another."""
    path = folder / "fork.proto"
    path.write_text(fork_proto(leave_out=["detection_output_param"]), encoding="utf-8")
    return path


def load_case(case: CaffeCase, fork: Path | None = None) -> Graph:
    """The net of a case with all its layers; `fork` is the proto of the fork, for cases of the fork."""
    protos = [fork] if fork is not None else []
    return load_caffe(case.prototxt, case.caffemodel, state=case.state, keep_training=True, custom_protos=protos)


def run_passes(graph: Graph, case: CaffeCase) -> Iterator[list[Compared]]:
    """The comparisons of each recorded forward pass."""
    values = [value for node in graph for value in node.outputs]
    executor = Executor(graph, fetch=values)
    for step in range(case.steps):
        recorded = case.recorded(step)
        if _set_weights(graph, recorded):
            executor = Executor(graph, fetch=values)
        feeds = {name.removeprefix("in/"): array for name, array in recorded.items() if name.startswith("in/")}
        found = executor.run(feeds)
        compared: list[Compared] = []
        for name, expected in recorded.items():
            value = _recorded_value(graph, name)
            if value is not None:
                compared.append(Compared(name, value.producer.type, found[value], expected))
        yield compared


def _set_weights(graph: Graph, recorded: Mapping[str, NDArray[np.float32]]) -> bool:
    """The weights as they were before this pass, where they are not those of the file; whether any was set."""
    changed = False
    for node in graph:
        for index, role in enumerate(list(node.weights)):
            if f"param/{node.name}/{index}" in recorded:
                node.weights[role] = recorded[f"param/{node.name}/{index}"]
                changed = True
    return changed


def _recorded_value(graph: Graph, name: str) -> Value | None:
    """The value of `blob/<name>` or `layer/<layer>/<top>`; None for a Split that Caffe put in."""
    if name.startswith("blob/"):
        return blob_values(graph)[name.removeprefix("blob/")]
    if not name.startswith("layer/"):
        return None
    layer, _, index = name.removeprefix("layer/").rpartition("/")
    if layer not in graph:
        assert layer.endswith("_split")
        return None
    return graph.node(layer).outputs[int(index)]
