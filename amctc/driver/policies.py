"""What a policy means for a model, without running it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector
from amctc.driver.passes import pass_mistakes
from amctc.frontends import Reading, load_model
from amctc.output import write_files
from amctc.plugins import load_plugins
from amctc.policy import Explanation, Policy, explanation, resolve, to_json
from amctc.policy.availability import refuse_training
from amctc.policy.check import FileReport, check_files
from amctc.policy.flavours import flavour_named, usual_flavour


def check(
    policies: Iterable[str | Path],
    model: str | Path | None = None,
    *,
    flavour: str | None = None,
    plugins: Sequence[str | Path] = (),
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> tuple[FileReport, ...]:
    """Everything that is wrong with policies, or with what they mean for a model, file by file.

    Warnings about the model go to `collector`. Raises `DiagnosticError` for mistakes in the model, and
    AM231 for a flavour that there is not; mistakes in the policies are in the reports.
    """
    if flavour is not None:
        flavour_named(flavour)
    graph = load_model(model, None, collector, **reading) if model is not None else None
    load_plugins(plugins)
    return check_files(policies, graph, flavour, pass_mistakes)


def explain(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path,
    layer: str | None = None,
    plugins: Sequence[str | Path] = (),
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> Explanation:
    """What every layer (or one) gets from a policy, and the rule behind each value. Warnings go to `collector`."""
    load_plugins(plugins)
    graph = load_model(model, weights, collector, **reading)
    rules = Policy.from_file(policy, usual=usual_flavour(graph))
    refuse_training(rules)
    resolved = resolve(rules, graph)
    if collector is not None:
        collector.extend(resolved.warnings)
    return explanation(resolved, layer)


def write_config(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path | None = None,
    output: Path,
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> None:
    """Write the full JSON layer config of a model, with the defaults or with what a policy says.

    Warnings go to `collector`.
    """
    graph = load_model(model, weights, collector, **reading)
    usual = usual_flavour(graph)
    rules = Policy.from_file(policy, usual=usual) if policy is not None else Policy(flavour=usual)
    refuse_training(rules)
    resolved = resolve(rules, graph)
    if collector is not None:
        collector.extend(resolved.warnings)
    write_files({output: to_json(resolved).encode()})
