"""observe: put observers on the values whose range calibration must learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from amctc.dialects.table import op_def
from amctc.dialects.traits import initial_state
from amctc.ir import Graph, InputQuant, Node, Provenance, Value
from amctc.pipeline.context import Context
from amctc.pipeline.options import option
from amctc.pipeline.pass_ import Pass
from amctc.quant.activation import ActivationSettings, for_observer, settings_to_plain
from amctc.quant.observers import USUAL_OBSERVER, check_observer
from amctc.quant.percentile import USUAL_PERCENTILE, PercentileObserver


@dataclass(frozen=True)
class Observe(Pass):
    """Insert one Observe node for every value and set of settings that an annotated layer asks for.

    A value that several layers read with equal settings is observed once, for all of them. The hidden
    state of a recurrent layer is observed on the output that holds it, where there is one, and with it the initial
    state that the layer is given.
    """

    name: ClassVar[str] = "observe"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("calibrate",)
    observer: str = option(
        USUAL_OBSERVER,
        help="who chooses scale and offset: ifmr (hfmg where the policy says so), hfmg, minmax, percentile, entropy, "
        "mse, or a registered observer",
    )
    percentile: float = option(
        100 * USUAL_PERCENTILE,
        help="the part of all values that the observer percentile keeps at either end, in percent, above 50",
        least=50,
        most=100,
    )

    def __post_init__(self) -> None:
        check_observer(self.observer)
        if self._part == USUAL_PERCENTILE:
            return
        if self.observer != PercentileObserver.kind:
            raise ValueError(f"`percentile` is for the observer `percentile`, not `{self.observer}`")
        if self._part <= 0.5:
            raise ValueError("`percentile` is above 50")

    @property
    def _part(self) -> float:
        return round(self.percentile / 100, 12)

    def run(self, graph: Graph, context: Context) -> bool:
        groups: dict[tuple[Value, str, ActivationSettings, str], list[tuple[Node, int]]] = {}
        for node in graph.nodes:
            for value, quant in _observed(node):
                name, settings = for_observer(self.observer, quant.settings, self._part)
                groups.setdefault((value, name, settings, _apart(node, quant)), []).append((node, quant.index))
        for (value, name, settings, _), readers in groups.items():
            first, index = readers[0]
            observer = graph.add(
                graph.unused_name(f"{first.name}.observe.{index}"),
                "quant.Observe",
                [value],
                [],
                attrs={
                    "settings": settings_to_plain(settings),
                    "layers": tuple(node.name for node, _ in readers),
                    "inputs": tuple(into for _, into in readers),
                    "observer": name,
                },
                provenance=Provenance(inserted=True),
                beside=value.producer,
            )
            observer.record(self.name, f"observes `{value.blob}` for {_names(node for node, _ in readers)}")
        return bool(groups)


def _observed(node: Node) -> Iterator[tuple[Value, InputQuant]]:
    """The values to be observed for a node, each with the operand that takes its factors."""
    if node.quant is None:
        return
    inputs = node.inputs
    for quant in node.quant.inputs:
        yield inputs[quant.index], quant
    recurrent = op_def(node).recurrent
    if node.quant.state is not None and recurrent is not None and recurrent.hidden_output is not None:
        yield node.outputs[recurrent.hidden_output], node.quant.state


def _apart(node: Node, quant: InputQuant) -> str:
    """What keeps a hidden state from being observed together with other operands: its initial state counts too."""
    is_state = node.quant is not None and quant is node.quant.state
    return node.name if is_state and initial_state(node) is not None else ""


def _names(nodes: Iterable[Node]) -> str:
    return ", ".join(f"`{node.name}`" for node in nodes)
