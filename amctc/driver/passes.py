"""Which passes run, and what is told where one of them breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from amctc import reproducer
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, did_you_mean, error
from amctc.instruments import NotEquivalent, Running
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.options import OptionText, configure
from amctc.pipeline.order import check_complete, with_pass
from amctc.pipeline.pipeline import Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import ResolvedPolicy
from amctc.policy.rules import PassRule, Policy
from amctc.policy.said import Said
from amctc.policy.settings import ADA, SNQ
from amctc.registry import BUILT_IN, Registry, current_registry
from amctc.reproducer import DataReference
from amctc.source import SourceFile

if TYPE_CHECKING:
    from amctc.reproducer import Broken, Reload

USUAL, NONUNIFORM, ROUNDED = "ptq", "ptq-nonuniform", "ptq-rounded"
"""The pipelines that run where the user names none."""

KV_CACHE = "kv-cache"
"""The pipeline for a policy of KV-cache quantization."""

RETRAIN = "retrain"
"""The pipeline that makes a network one that is trained quantized."""

UPDATE, ROUND = "update-batchnorm", "round-weights"


def usual_pipeline(policy: ResolvedPolicy) -> str:
    """The pipeline for a policy where the user names none.

    Where weights are clustered, or BatchNorm layers updated, weights are quantized before these layers are folded.
    Where it is learned how weights are rounded, a pass in front of the one that quantizes them does so.
    """
    if policy.policy.kv_cache is not None:
        return KV_CACHE
    if policy.is_nonuniform:
        return NONUNIFORM
    return ROUNDED if policy.has_learned_rounding else USUAL


def pipeline_of_rules(rules: Policy) -> str:
    """The pipeline for a policy as far as that can be told before a model is looked at: the one that it asks for.

    Where the layers that it clusters are all switched off, `usual_pipeline` takes the other one.
    """
    if rules.kv_cache is not None:
        return KV_CACHE
    configs = [override.config for override in (*rules.override_layer_types, *rules.override_layer_configs)]
    configs += [rules.common_config] if rules.common_config is not None else []
    weights = [config.weights for config in configs] + [layer.weights for layer in rules.layers or ()]
    said = [rule.algorithm for rule in weights if rule is not None]
    if Said(SNQ) in said or rules.update_bn == Said(True):
        return NONUNIFORM
    return ROUNDED if Said(ADA) in said else USUAL


def without_update(pipeline: Pipeline, policy: ResolvedPolicy) -> Diagnostic | None:
    """AM513, a warning, where the policy says `update_bn` and no pass of the pipeline does it."""
    if not policy.update_bn or pipeline.place_of(UPDATE) is not None:
        return None
    said = policy.general.update_bn
    message = f"`update_bn: true` has no effect, as the pipeline has no `{UPDATE}`"
    help = f"take the pipeline `{NONUNIFORM}`, or leave `--pipeline` out"
    return Diagnostic("AM513", message, Level.WARNING, said.rule.span if said is not None else None, help=help)


def without_rounding(pipeline: Pipeline, policy: ResolvedPolicy) -> Diagnostic | None:
    """AM490, a warning, where the policy says `ada_quantize` and no pass of the pipeline does it."""
    if pipeline.place_of(ROUND) is not None:
        return None
    for config in policy.layers.values():
        if config.quant_enable.value and config.weights is not None and config.weights.rounding is not None:
            message = f"`{ADA}` has no effect, as the pipeline has no `{ROUND}`: weights are rounded to the nearest"
            help = f"take the pipeline `{ROUNDED}`, or leave `--pipeline` out"
            return Diagnostic("AM490", message, Level.WARNING, config.weights.algorithm.rule.span, help=help)
    return None


def build_pipeline(text: str | None, wanted: Sequence[PassRule] = ()) -> Pipeline:
    """The pipeline of a text (None: that of uniform weights), and in it the passes that a policy names.

    Raises `DiagnosticError` (AM500 to AM507) at the text, or at the policy.
    """
    registry = current_registry()
    pipeline = parse_pipeline(SourceFile("--pipeline", USUAL if text is None else text), registry)
    collector = Collector()
    for rule in wanted:
        try:
            pipeline = _joined(pipeline, rule, registry)
        except DiagnosticError as mistakes:
            collector.extend(mistakes.diagnostics)
    collector.raise_errors()
    check_complete(pipeline)
    return pipeline


def check_needs(pipeline: Pipeline, *, calibration: bool, record: bool, policy: bool = True) -> None:
    """Raise `DiagnosticError` (AM509) for a pass that needs data, a record or a policy, where there are none."""
    for step in pipeline.passes:
        if step.needs_policy and not policy:
            help = "quantize with a policy: `amctc compile MODEL WEIGHTS --policy FILE --data DATA`"
            raise error("AM509", f"`{step.name}` runs only with a policy", help=help)
        if step.needs_record and not record:
            help = "give a record of scales: `amctc convert MODEL WEIGHTS --record FILE`"
            raise error("AM509", f"`{step.name}` runs only with a record", help=help)
        if step.needs_calibration and not calibration:
            help = "calibrate with data: `amctc compile MODEL WEIGHTS --policy FILE --data DATA`"
            raise error("AM509", f"`{step.name}` runs only with calibration data", help=help)


def pass_mistakes(policy: Policy) -> tuple[Diagnostic, ...]:
    """What is wrong with the passes that a policy names, and their options (AM501 to AM504)."""
    try:
        build_pipeline(pipeline_of_rules(policy), policy.passes)
    except DiagnosticError as mistakes:
        return mistakes.diagnostics
    return ()


@dataclass(frozen=True)
class Again:
    """How a run of the passes can be begun again from the files: what a reproducer is made with.

    `data` say where the calibration data lie.
    """

    reload: Reload
    plugins: tuple[str | Path, ...] = ()
    data: DataReference | None = None


def run_pipeline(
    pipeline: Pipeline, graph: Graph, context: Context, again: Again, instruments: Sequence[Instrument] = ()
) -> tuple[PassRun, ...]:
    """Run the pipeline. Where a pass breaks, a reproducer is written and named.

    Raises `DiagnosticError` for the user's mistakes, AM527 where a pass of a plug-in breaks, and AM530 where one
    changes numbers that it claims to preserve. Where one of ours breaks, `PassFailure` is raised.
    """
    running = Running()
    try:
        return pipeline.run(graph, context, (running, *instruments))
    except NotEquivalent as failure:
        raise DiagnosticError(_noted(failure.diagnostics[0], failure, pipeline, running, again)) from failure
    except PassFailure as failure:
        owner = owner_of(failure)
        if owner == BUILT_IN:
            failure.add_note(_reproducer(failure, pipeline, running, again))
            raise
        help = f"this is a mistake in `{failure.step.name}`, which belongs to {owner}"
        found = Diagnostic("AM527", str(failure), help=help)
        raise DiagnosticError(_noted(found, failure, pipeline, running, again)) from failure


def owner_of(failure: PassFailure) -> str:
    """Who registered the pass that failed."""
    entry = current_registry().passes.get(failure.step.name)
    return BUILT_IN if entry is None else entry.owner


def _noted(found: Diagnostic, failure: Broken, pipeline: Pipeline, running: Running, again: Again) -> Diagnostic:
    return replace(found, notes=(*found.notes, _reproducer(failure, pipeline, running, again)))


def _reproducer(failure: Broken, pipeline: Pipeline, running: Running, again: Again) -> str:
    return reproducer.reproducer_note(
        again.reload, pipeline, running.number, failure, plugins=again.plugins, data=again.data
    )


def _joined(pipeline: Pipeline, rule: PassRule, registry: Registry) -> Pipeline:
    name = rule.name.value
    if name not in registry.passes:
        listed = "`amctc passes` lists them; one of your own comes with `--plugin FILE`"
        help = did_you_mean(name, registry.passes) or listed
        raise error("AM501", f"there is no pass named `{name}`", rule.name.span, help=help)
    options = {key.value: OptionText(value.value, value.span, key.span) for key, value in rule.options}
    return with_pass(pipeline, configure(registry.passes[name].load(), options), rule.name.span)
