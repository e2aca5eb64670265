"""What a pass may look at besides the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector
from amctc.ir import Graph
from amctc.policy import ResolvedPolicy
from amctc.quant.ifmr import IfmrResult
from amctc.quant.observers import Observer
from amctc.runtime.calibration import Reader

if TYPE_CHECKING:
    from amctc.policy.resolve_training import ResolvedTraining
    from amctc.records.scale_record import ScaleRecord

Feeds: TypeAlias = Mapping[str, NDArray[np.float32]]
Observe: TypeAlias = Callable[[Graph, Sequence[Reader], int], list[Observer]]
"""Runs a graph over so many batches and gives one fed observer for each reader, in their order."""

Statistics: TypeAlias = Mapping[str, NDArray[np.float32]]
Fact = TypeVar("Fact")


@dataclass(frozen=True)
class Calibration:
    """The calibration data of one compilation.

    `batches()` starts a new run over exactly `batch_num` batches, each a mapping from an input's
    blob name to float32 [batch, ...]. `progress` is told after each batch how many are done. `more(count)` starts a
    run over the first `count` batches of all the data that there are, or fewer where they end; None where there are
    no more than those of `batches()`. `observe` feeds the observers, where that is not done by this process alone, from
    the first batch to the last; None where it is.
    """

    batches: Callable[[], Iterator[Feeds]]
    batch_num: int
    progress: Callable[[int], None] = lambda done: None
    more: Callable[[int], Iterator[Feeds]] | None = None
    observe: Observe | None = None

    def observed(self, graph: Graph, readers: Sequence[Reader]) -> list[Observer]:
        """One observer for each reader, in their order, that has seen all batches of a run of the graph.

        Raises `DiagnosticError` as `observe_values` does.
        """
        from amctc.runtime.calibration_engine import observe_values

        if self.observe is not None:
            return self.observe(graph, readers, self.batch_num)
        return observe_values(graph, readers, self.batches(), self.batch_num, self.progress)

    def at_most(self, count: int) -> Iterator[Feeds]:
        """A new run over `count` batches, or fewer where the data end."""
        return self.more(count) if self.more is not None else islice(self.batches(), count)


@dataclass(frozen=True)
class Refusal:
    """A rewrite that matched, or nearly did, and was not done, and why."""

    by: str
    layer: str
    reason: str


@dataclass(frozen=True)
class Context:
    """Everything a pass needs beside the graph; a pass never reads the policy file itself.

    `policy`, `calibration` and `record` (factors that are given) are None in a pipeline that runs without them (a
    pass that needs one says so through `needs_policy`, `needs_calibration` and `needs_record`). `refusals` is an
    ordered set. `training` is what a policy of quantization-aware training gives the layers, None where there is none.
    `statistics` are what update-batchnorm has found, by layer and role. `means` are those of the channels that
    observe-means has seen in the float network: [batches, channels] by layer. `kv_cache` are the grids that
    insert-kv-cache-quant has chosen for outputs, by layer: one, or one for each channel. `divided` are the values
    inside the network, by name, whose channels the pass that runs has divided, while all that reads them computes as
    before: the axis at which the channels begin, and the divisors [channels]. `counts` are the statistics of the pass
    that runs, under words of its own.
    """

    policy: ResolvedPolicy | None = None
    calibration: Calibration | None = None
    collector: Collector = field(default_factory=Collector)
    refusals: dict[Refusal, None] = field(default_factory=dict[Refusal, None])
    counts: Counter[str] = field(default_factory=Counter[str])
    facts: dict[Callable[[Graph], object], object] = field(default_factory=dict[Callable[[Graph], object], object])
    record: ScaleRecord | None = None
    training: ResolvedTraining | None = None
    statistics: dict[str, Statistics] = field(default_factory=dict[str, Statistics])
    means: dict[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])
    kv_cache: dict[str, tuple[IfmrResult, ...]] = field(default_factory=dict[str, tuple[IfmrResult, ...]])

    divided: dict[str, tuple[int, NDArray[np.float64]]] = field(
        default_factory=dict[str, tuple[int, NDArray[np.float64]]]
    )

    def need_policy(self) -> ResolvedPolicy:
        if self.policy is None:
            raise ValueError("this pass runs only with a policy")
        return self.policy

    def need_calibration(self) -> Calibration:
        if self.calibration is None:
            raise ValueError("this pass runs only with calibration data")
        return self.calibration

    def need_record(self) -> ScaleRecord:
        if self.record is None:
            raise ValueError("this pass runs only with a record")
        return self.record

    def refuse(self, by: str, layer: str, reason: str) -> None:
        """Remember that pass `by` left a layer as it was; told once, however often a pipeline repeats the pass."""
        refusal = Refusal(by, layer, reason)
        if refusal not in self.refusals:
            self.counts["refusals"] += 1
        self.refusals[refusal] = None

    def fact(self, of: Callable[[Graph], Fact], graph: Graph) -> Fact:
        """`of(graph)`, worked out once for the pass that runs: the graph as it was when it was first asked.

        For what takes a walk over the whole graph, so that a `check` for each match stays cheap.
        """
        if of not in self.facts:
            self.facts[of] = of(graph)
        return cast("Fact", self.facts[of])

    def for_pass(self) -> Context:
        """The context for the next pass: with statistics and facts of its own."""
        return replace(self, counts=Counter(), facts={}, divided={})
