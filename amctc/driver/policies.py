"""What a policy means for a model, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector
from amctc.frontends import Reading, load_model
from amctc.output import write_files
from amctc.policy import ExplainRow, Policy, resolve, to_json
from amctc.policy import explain as explain_policy


def explain(
    model: str | Path,
    weights: str | Path | None = None,
    *,
    policy: str | Path,
    layer: str | None = None,
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> list[ExplainRow]:
    """What every layer (or one) gets from a policy, and the rule behind each value. Warnings go to `collector`."""
    graph = load_model(model, weights, collector, **reading)
    return explain_policy(resolve(Policy.from_file(policy), graph), layer)


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
    resolved = resolve(Policy.from_file(policy) if policy is not None else Policy(), graph)
    write_files({output: to_json(resolved).encode()})
