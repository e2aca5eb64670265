"""calibrate: run the calibration data and turn what the observers saw into scales and offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_def
from amctc.dialects.traits import initial_state
from amctc.ir import Graph, Node, Value
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.activation import settings_from_plain
from amctc.quant.half_precision import scale_in
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observers import USUAL_OBSERVER
from amctc.records.factors import unseen_state
from amctc.runtime.calibration import Reader


@dataclass(frozen=True)
class Calibrate(Pass):
    """Feed every Observe node with the calibration batches, choose scale and offset, and remove it.

    All observers share one run over the data; nothing is kept of a batch but what they keep. The
    factors go into the annotations of the layers that the observer stood for. A hidden state that no
    output shows takes the whole range that it can have.
    """

    name: ClassVar[str] = "calibrate"
    needs_before: ClassVar[tuple[str, ...]] = ("observe",)
    needs_calibration: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        calibration = context.need_calibration()
        nodes = [node for node in graph.nodes if node.op == "quant.Observe"]
        readers = [_reader(graph, node) for node in nodes]
        observers = calibration.observed(graph, readers)
        for node, observer in zip(nodes, observers, strict=True):
            try:
                found = observer.finish()
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            self._annotate(graph, node, found)
            graph.remove(node)
        for node in graph.nodes:
            self._annotate_unseen(node)
        return bool(nodes)

    def _annotate(self, graph: Graph, observer: Node, found: IfmrResult) -> None:
        for node, index in _operands(graph, observer):
            if node.quant is None:
                continue
            scale = scale_in(node.quant.precision_mode, float(found.scale))
            node.quant = node.quant.with_factors(index, scale, int(found.offset))
            how = "the data" if found.exact else "a histogram of the data"
            what = f"input {index}" if index < len(node.inputs) else "hidden state"
            low, high = found.init_min + 0.0, found.init_max + 0.0  # an end at -0 reads 0, as observers merge it
            node.record(
                self.name,
                f"{what}: scale {scale:.6g}, offset {found.offset}, candidate {found.index} "
                f"on {how}, range {low:.6g} … {high:.6g}",
            )

    def _annotate_unseen(self, node: Node) -> None:
        found = unseen_state(node)
        if found is None or node.quant is None or node.quant.state is None:
            return
        scale, offset = scale_in(node.quant.precision_mode, found[0]), found[1]
        node.quant = node.quant.with_factors(node.quant.state.index, scale, offset)
        recurrent = op_def(node).recurrent
        low, high = recurrent.hidden_range if recurrent is not None else (0, 0)
        node.record(
            self.name,
            f"hidden state: scale {scale:.6g}, offset {offset}, for its whole range {low:g} … {high:g}, "
            "as no output of the layer shows it",
        )


def _reader(graph: Graph, observer: Node) -> Reader:
    settings = settings_from_plain(observer.attrs["settings"])
    name = str(observer.attrs.get("observer", USUAL_OBSERVER))
    states = [initial_state(node) for node, index in _operands(graph, observer) if index == len(node.inputs)]
    return Reader(
        observer.inputs[0],
        settings,
        ", ".join(_layers(observer)),
        name,
        also=tuple(state for state in states if isinstance(state, Value)),
        constants=tuple(state for state in states if isinstance(state, np.ndarray)),
    )


def _operands(graph: Graph, observer: Node) -> list[tuple[Node, int]]:
    """The layers that an observer stands for, each with the number of the operand that takes its factors."""
    inputs = observer.attrs["inputs"]
    indices = [index for index in inputs if isinstance(index, int)] if isinstance(inputs, tuple) else []
    return [(graph.node(name), index) for name, index in zip(_layers(observer), indices, strict=True)]


def _layers(observer: Node) -> tuple[str, ...]:
    layers = observer.attrs["layers"]
    return tuple(str(name) for name in layers) if isinstance(layers, tuple) else ()
