"""calibrate: run the calibration data and turn what the observers saw into scales and offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from amctc.diagnostics import DiagnosticError
from amctc.dialects.quant import settings_from_plain
from amctc.dialects.table import op_def
from amctc.ir import Graph, InputQuant, Node, NodeQuant
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass
from amctc.quant.grid import scale_offset_from_range
from amctc.quant.ifmr import IfmrResult
from amctc.runtime.calibration import Reader, observe_values


@dataclass(frozen=True)
class Calibrate(Pass):
    """Feed every Observe node with the calibration batches, choose scale and offset, and remove it.

    All observers share one run over the data; nothing is kept of a batch but what they keep. The
    factors go into the annotations of the layers that the observer stood for. A hidden state that no
    output shows takes the whole range that it can have.
    """

    name: ClassVar[str] = "calibrate"
    needs_before: ClassVar[tuple[str, ...]] = ("observe",)

    def run(self, graph: Graph, context: Context) -> bool:
        calibration = context.need_calibration()
        nodes = [node for node in graph.nodes if node.op == "quant.Observe"]
        readers = [
            Reader(node.inputs[0], settings_from_plain(node.attrs["settings"]), ", ".join(_layers(node)))
            for node in nodes
        ]
        batches = calibration.batches()
        observers = observe_values(graph, readers, batches, calibration.batch_num, calibration.progress)
        for node, observer in zip(nodes, observers, strict=True):
            try:
                found = observer.finish()
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            self._annotate(graph, node, found)
            graph.remove(node)
        for node in graph.nodes:
            if node.quant is not None and node.quant.state is not None:
                self._annotate_unseen(node, node.quant, node.quant.state)
        return bool(nodes)

    def _annotate(self, graph: Graph, observer: Node, found: IfmrResult) -> None:
        inputs = observer.attrs["inputs"]
        for name, index in zip(_layers(observer), inputs if isinstance(inputs, tuple) else (), strict=True):
            node = graph.node(name)
            if node.quant is None or not isinstance(index, int):
                continue
            node.quant = node.quant.with_factors(index, float(found.scale), int(found.offset))
            how = "the data" if found.exact else "a histogram of the data"
            what = f"input {index}" if index < len(node.inputs) else "hidden state"
            node.record(
                self.name,
                f"{what}: scale {found.scale:.6g}, offset {found.offset}, candidate {found.index} "
                f"on {how}, range {found.init_min:.6g} … {found.init_max:.6g}",
            )

    def _annotate_unseen(self, node: Node, quant: NodeQuant, state: InputQuant) -> None:
        recurrent = op_def(node).recurrent
        if recurrent is None or recurrent.hidden_output is not None:
            return
        low, high = recurrent.hidden_range
        found = scale_offset_from_range(low, high, state.bits, state.settings.with_offset)
        scale, offset = float(found.scale), int(found.offset)
        node.quant = quant.with_factors(state.index, scale, offset)
        node.record(
            self.name,
            f"hidden state: scale {scale:.6g}, offset {offset}, for its whole range {low:g} … {high:g}, "
            "as no output of the layer shows it",
        )


def _layers(observer: Node) -> tuple[str, ...]:
    layers = observer.attrs["layers"]
    return tuple(str(name) for name in layers) if isinstance(layers, tuple) else ()
