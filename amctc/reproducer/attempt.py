"""One run of what a reproducer holds."""

from __future__ import annotations

from collections.abc import Sequence

from amctc.instruments import CheckEquivalence, NotEquivalent
from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context, Feeds
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.instrument import Instrument
from amctc.pipeline.pipeline import Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import ResolvedPolicy
from amctc.records.scale_record import ScaleRecord
from amctc.registry import current_registry
from amctc.reproducer.failure import Broken
from amctc.reproducer.reproducer import Reproducer
from amctc.runtime.graph_data import open_for
from amctc.source import SourceFile


def pipeline_of(reproducer: Reproducer) -> Pipeline:
    """The passes still to run. Raises `DiagnosticError` (AM500 to AM507)."""
    return parse_pipeline(SourceFile("reproducer.json: pipeline", reproducer.pipeline), current_registry())


def batch_of(reproducer: Reproducer) -> Feeds | None:
    """The copied batch, or the first one of the data that are named; None without data."""
    if reproducer.batch is not None or reproducer.data is None:
        return reproducer.batch
    named = reproducer.data
    dataset = open_for(reproducer.graph, named.data, named.preprocess, named.max_samples, named.sample_seed)
    return next(iter(dataset.batches(named.batch_size, limit=1)))


def attempt(
    graph: Graph,
    pipeline: Pipeline,
    policy: ResolvedPolicy | None,
    batch: Feeds | None,
    tolerance: float | None,
    instruments: Sequence[Instrument] = (),
    record: ScaleRecord | None = None,
) -> Broken | None:
    """Run the passes, and give the failure that a pass is to blame for; None where all goes well.

    Raises `DiagnosticError` where the input is to blame, as a pass does.
    """
    calibration = None if batch is None else Calibration(lambda: iter([batch]), 1)
    checks = () if tolerance is None else (CheckEquivalence(tolerance),)
    try:
        pipeline.run(graph, Context(policy, calibration, record=record), (*instruments, *checks))
    except (PassFailure, NotEquivalent) as broken:
        return broken
    return None
