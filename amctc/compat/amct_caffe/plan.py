"""The passes of a quantization whose data run in Caffe, and the files by which Caffe tells what it found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from amctc.compat.amct_caffe.log import log
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import error
from amctc.driver.passes import Again, build_pipeline, run_pipeline, usual_pipeline
from amctc.frontends.caffe.batch_norm_file import read_statistics
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline import Pipeline
from amctc.policy import ResolvedPolicy
from amctc.policy.rules import PassRule
from amctc.reproducer.write import Reload
from amctc.targets.caffe.batch_norm_file import BATCH_NORM_FILE
from amctc.targets.caffe.calibration_model import BatchNormUpdate

_UPDATE: Final = "update-batchnorm"
_DUMP_DIR: Final = "bn_data"


@dataclass(frozen=True)
class Plan:
    """The pipeline without update-batchnorm, in whose place statistics are read.

    `refresh` is the index of the step before which BatchNorm layers take the statistics that the model with quantized
    weights has put into the file `statistics`; None where they keep those that they have. `record` gets the factors of
    the data, `weights` those of the weights before BatchNorm layers are folded into them: two files, where that is not
    the same. `passes` are those that the policy names.
    """

    pipeline: Pipeline
    refresh: int | None
    statistics: Path
    weights: Path
    record: Path
    passes: tuple[PassRule, ...]

    @classmethod
    def of(cls, policy: ResolvedPolicy, record: Path, base: Path) -> Plan:
        """For a policy, the path of the user's record, and the absolute folder that a relative `bn_dump_dir` is in.

        Raises `DiagnosticError` for the passes that the policy names.
        """
        whole = build_pipeline(usual_pipeline(policy), policy.passes)
        place, settings = whole.place_of(_UPDATE), policy.bn_update
        steps = tuple(step for step in whole.steps if not (place is not None and step is whole.steps[place]))
        named = settings.dump_dir if settings is not None else None
        folder = record.parent / _DUMP_DIR if named is None else base / named
        joined = record.with_name(f"{record.stem}_update{record.suffix}")
        return cls(
            pipeline=Pipeline(steps),
            refresh=place if settings is not None else None,
            statistics=folder / BATCH_NORM_FILE,
            weights=record,
            record=joined if policy.is_nonuniform else record,
            passes=policy.passes,
        )

    @property
    def for_saving(self) -> Plan:
        """The pipeline that takes the factors out of the record, for a graph with the refreshed statistics."""
        pipeline = build_pipeline("convert", self.passes)
        return replace(self, pipeline=pipeline, refresh=None if self.refresh is None else 0)

    def end(self, last: str) -> int:
        """How many steps there are up to the first pass of that name, which is one of them."""
        place = self.pipeline.place_of(last)
        return len(self.pipeline.steps) if place is None else place + 1

    def take_statistics(self, net: Graph) -> None:
        """Put the refreshed statistics into the BatchNorm layers of a graph, where the policy wants it.

        Raises `DiagnosticError`: AM632 where Caffe has not written them yet, and what reading the file finds.
        """
        if self.refresh is None:
            return
        if not self.statistics.exists():
            message = "the BatchNorm layers are not updated yet"
            help = (
                "run the model that `weights_quantize_model` writes for `bn_update_iterations` batches, as the config "
                "says `update_bn`: `net = caffe.Net(modified_model_file, modified_weights_file, caffe.TEST)`, then "
                "`net.forward()` for each; with the last of them the statistics are written"
            )
            raise error("AM632", message, file=str(self.statistics), help=help)
        read_statistics(self.statistics, net)

    def run(self, part: tuple[int, int], net: Graph, context: Context, reload: Reload) -> None:
        """Run the steps of a part of the pipeline on the graph, as it is after those before.

        The log gets a line for each pass. `reload` gives the float graph anew. Raises as `run_pipeline` and
        `take_statistics` do.
        """
        start, end = part
        if self.refresh is not None and start <= self.refresh < end:
            self._run_steps((start, self.refresh), net, context, reload)
            self.take_statistics(net)
            start = self.refresh
        self._run_steps((start, end), net, context, reload)

    def _run_steps(self, part: tuple[int, int], net: Graph, context: Context, reload: Reload) -> None:
        start, end = part

        def until() -> tuple[Graph, Context]:
            """The graph as it was before this part, for a reproducer."""
            net, fresh = reload()
            refresh = len(self.pipeline.steps) if self.refresh is None else self.refresh
            Pipeline(self.pipeline.steps[: min(start, refresh)]).run(net, fresh)
            if start >= refresh:
                self.take_statistics(net)
                Pipeline(self.pipeline.steps[refresh:start]).run(net, fresh)
            return net, fresh

        known = len(context.collector.warnings)
        steps = Pipeline(self.pipeline.steps[start:end])
        run_pipeline(steps, net, context, Again(until), (LoggedPasses(log.logger),))
        log.tell("Optimizer", context.collector.warnings[known:])


def update_of(plan: Plan, policy: ResolvedPolicy) -> BatchNormUpdate | None:
    """What the model with quantized weights is to do with its BatchNorm layers; None where they stay as they are."""
    settings = policy.bn_update
    if settings is None:
        return None
    return BatchNormUpdate(settings.iterations, settings.fraction, str(plan.statistics.parent))
