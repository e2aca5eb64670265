"""What one pass does to a model, and what it refuses to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector, error
from amctc.driver.passes import NONUNIFORM, UPDATE, Again, build_pipeline, run_pipeline, usual_pipeline
from amctc.driver.quantize import require_weights
from amctc.frontends import Reading, format_of, load_model
from amctc.ir import Graph
from amctc.pipeline.context import Context, Refusal
from amctc.pipeline.order import with_pass
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Fixpoint, Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, resolve
from amctc.policy.availability import refuse_training
from amctc.policy.flavours import flavour_of_format
from amctc.registry import current_registry
from amctc.source import SourceFile

PASS_EXPLANATION_VERSION = 1

_WEIGHTS = "quantize-weights"


@dataclass(frozen=True)
class Done:
    """One thing that the pass did to a layer."""

    layer: str
    what: str


@dataclass(frozen=True)
class PassExplanation:
    """What a pass did (`done`), which layers it took away, and each near miss with its reason.

    `skipped` says why the policy did not want the pass at all. `before` is the pipeline that ran in front of it.
    """

    name: str
    before: str
    skipped: str | None
    done: tuple[Done, ...]
    removed: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    def to_json(self) -> dict[str, object]:
        """As plain data, with the version of its form. A later version may have more keys, never fewer."""
        return {
            "version": PASS_EXPLANATION_VERSION,
            "pass": self.name,
            "before": self.before,
            "skipped": self.skipped,
            "done": [{"layer": each.layer, "what": each.what} for each in self.done],
            "removed": list(self.removed),
            "refusals": [{"layer": each.layer, "reason": each.reason} for each in self.refusals],
        }


def explain_pass(
    text: str,
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> PassExplanation:
    """Run the usual passes in front of a pass, then the pass itself, and tell what became of each match.

    `text` is a pass as a pipeline writes it, options and all. Warnings go to `collector`. Raises `DiagnosticError`:
    AM508 for a text of several passes, AM509 where the pass runs only with a policy, or with calibration data, AM420
    where weights are needed and there are none.
    """
    load_plugins(plugins)
    step = _one_pass(text)
    usual = flavour_of_format(format_of(model))
    rules = Policy.from_file(policy, usual=usual) if policy is not None else None
    if rules is not None:
        refuse_training(rules)

    def begin(told: Collector) -> tuple[Graph, Context]:
        graph = load_model(model, weights, told, **reading)
        return graph, Context(resolve(rules, graph) if rules is not None else None, collector=told)

    graph, context = begin(collector if collector is not None else Collector())
    front = _front(step, context.policy)
    # What a policy switches off is told even of a pass that would need more than there is here.
    known_policy = context.policy is not None or not step.needs_policy
    if known_policy and (reason := step.skip_reason(context)):
        return PassExplanation(step.name, str(front), reason, (), (), ())
    _require(step, front, context)
    if any(each.name == _WEIGHTS for each in (*front.passes, step)):
        require_weights(graph)
    again = Again(lambda: begin(Collector()), tuple(plugins))
    run_pipeline(front, graph, context, again)
    names = [node.name for node in graph.nodes]
    known = {node: len(node.provenance.changes) for node in graph.nodes}
    run_pipeline(Pipeline((step,)), graph, context, again)
    done = tuple(
        Done(node.name, change.what) for node in graph.nodes for change in node.provenance.changes[known.get(node, 0) :]
    )
    removed = tuple(name for name in names if name not in graph)
    refusals = tuple(each for each in context.refusals if each.by == step.name)
    return PassExplanation(step.name, str(front), None, done, removed, refusals)


def _one_pass(text: str) -> Pass:
    pipeline = parse_pipeline(SourceFile("--pass", text), current_registry())
    if len(pipeline.steps) != 1 or isinstance(pipeline.steps[0], Fixpoint):
        raise error("AM508", f"`{text}` is not one pass", help="name one that `amctc passes` lists")
    return pipeline.steps[0]


def _front(step: Pass, policy: ResolvedPolicy | None) -> Pipeline:
    """The passes in front of this one in the pipeline that the policy takes.

    Not the one that refreshes statistics, which takes data: what the others do does not depend on its numbers.
    """
    usual = build_pipeline(None if policy is None else usual_pipeline(policy))
    if usual.place_of(step.name) is None and step.name == UPDATE:
        usual = build_pipeline(NONUNIFORM)
    joined = with_pass(usual, step)
    front = joined.steps[: joined.place_of(step.name)]
    return Pipeline(tuple(each for each in front if isinstance(each, Fixpoint) or each.name != UPDATE))


def _require(step: Pass, front: Pipeline, context: Context) -> None:
    for each in (*front.passes, step):
        if each.needs_calibration:
            help = "compile the model, with `--print-ir-after` or `--print-ir-layer`"
            where = "with calibration data" if each is step else "behind a calibration"
            raise error("AM509", f"`{step.name}` runs only {where}", help=help)
        if each.needs_record:
            help = "convert the model, with `--print-ir-after` or `--print-ir-layer`"
            raise error("AM509", f"`{step.name}` runs only with a record of scales", help=help)
    if context.policy is None and any(each.needs_policy for each in (*front.passes, step)):
        raise error("AM509", f"`{step.name}` runs only with a policy", help="give one: `--policy FILE`")
