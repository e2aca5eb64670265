"""The passes of a quantization whose data run in a torch module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from amctc.compat.amct_pytorch.log import log
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import error
from amctc.driver.passes import USUAL, Again, build_pipeline, check_needs, run_pipeline
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline import Pipeline
from amctc.policy import ResolvedPolicy

Step: TypeAlias = Callable[[Graph, Context], None]

_EXPORT: Final = "take the pass out of the config, or quantize the exported ONNX model: `amctc compile MODEL.onnx`"


@dataclass(frozen=True)
class Plan:
    """The first passes of the usual pipeline in three parts: what follows them is done with the record.

    `fold` is what comes before channels are balanced, for which the record of `quantize_preprocess` has the factors,
    `weights` goes on until the weights are integers, and `observe` until it is known what is to be observed.
    """

    fold: Pipeline
    weights: Pipeline
    observe: Pipeline

    @classmethod
    def of(cls, policy: ResolvedPolicy) -> Plan:
        """Raises `DiagnosticError` (AM500 to AM509, AM955) for passes that the policy names."""
        whole = build_pipeline(USUAL, policy.passes)
        balance, weights, observe = (
            whole.place_of(name) or 0 for name in ("balance-channels", "quantize-weights", "observe")
        )
        fold = Pipeline(whole.steps[:balance])
        middle = Pipeline(whole.steps[balance + 1 : weights + 1])
        end = Pipeline(whole.steps[weights + 1 : observe + 1])
        named = {rule.name.value: rule.name.span for rule in policy.passes}
        for step in Pipeline(whole.steps[observe + 1 :]).passes:
            if step.name in named:
                message = f"`{step.name}` runs after the calibration, which is done in the module and not on the graph"
                raise error("AM955", message, named[step.name], help=_EXPORT)
        for part in (fold, middle, end):
            check_needs(part, calibration=False, record=False)
        return cls(fold, middle, end)


class Rewriting:
    """The graph of a module on its way through passes, and through steps between them; `begin` gives both anew."""

    def __init__(self, begin: Callable[[], tuple[Graph, Context]]) -> None:
        self._begin = begin
        self._done: list[Step] = []
        self.graph, self.context = begin()

    def change(self, step: Step) -> None:
        """Do what is no pass."""
        step(self.graph, self.context)
        self._done.append(step)

    def run(self, pipeline: Pipeline) -> None:
        """Run some passes; the log has a line for each. Raises as `run_pipeline`, and AM955.

        The module that the graph was exported from must be able to follow: passes may change its weights and fold
        layers into others, but not put in new ones.
        """
        there = {node.name for node in self.graph.nodes}
        known = len(self.context.collector.warnings)
        run_pipeline(pipeline, self.graph, self.context, Again(self._again), (LoggedPasses(log.logger),))
        log.tell("Optimizer", self.context.collector.warnings[known:])
        self._done.append(lambda graph, context: _run(pipeline, graph, context))
        for node in self.graph.nodes:
            if node.name not in there and node.op != "quant.Observe":
                message = f"the layer `{node.name}`, which a pass has put in, is none of the module's"
                raise error("AM955", message, help=_EXPORT)

    def _again(self) -> tuple[Graph, Context]:
        graph, context = self._begin()
        for step in self._done:
            step(graph, context)
        return graph, context


def _run(pipeline: Pipeline, graph: Graph, context: Context) -> None:
    pipeline.run(graph, context)
