"""Making the graph of a reproducer as small as it can be and still fail in the same way (delta debugging)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.ir import Graph
from amctc.ir.verify import InvalidGraph
from amctc.pipeline.context import Feeds
from amctc.pipeline.pipeline import Pipeline
from amctc.records.scale_record import ScaleRecord
from amctc.reproducer.attempt import attempt, batch_of, pipeline_of
from amctc.reproducer.failure import failure_of, layer_names
from amctc.reproducer.reproducer import Reproducer, read_reproducer
from amctc.reproducer.skeleton import Ref, Skeleton
from amctc.reproducer.write import new_folder, save
from amctc.runtime.executor import Executor

TRIES = 1000
"""So many smaller graphs are tried, where nothing else is said."""


@dataclass(frozen=True)
class Reduction:
    """The new folder, the layers before and after, how many graphs were tried, whether the limit ended it."""

    folder: Path
    before: int
    after: int
    tries: int
    ended: bool


def reduce(
    folder: str | Path,
    output: str | Path | None = None,
    *,
    plugins: Sequence[str | Path] = (),
    tries: int = TRIES,
    progress: Callable[[int], None] = lambda layers: None,
) -> Reduction:
    """Shrink the graph of a reproducer, and write what is left into a folder of its own.

    A smaller graph counts when the same pass fails with the same type of exception and the same message but for
    names of layers and numbers. Layers are taken away in chunks, then singly until none can go. `output` is
    the new folder, by default `FOLDER-reduced-N`; `progress` is told the number of layers that are left. Raises
    `DiagnosticError`: what `read_reproducer` raises, AM500 to AM507 for its pipeline, AM536 where it does not fail (any
    more) in the way that it tells of, AM700 for an output that cannot be written.
    """
    source = Path(folder)
    whole = read_reproducer(source, plugins)
    search = _Search(whole, tries, progress)
    if not search.fails(search.best):
        raise error("AM536", "this reproducer does not fail in the way that it tells of", file=str(folder))
    ended = search.run()
    left = search.reproducer()
    path = new_folder(source.parent, f"{source.name}-reduced") if output is None else Path(output)
    save(left, [f"Reduced from {len(whole.graph)} layers to {len(left.graph)}."], path)
    return Reduction(path, len(whole.graph), len(left.graph), search.count, ended)


class _NoMoreTries(Exception):
    """The limit is reached."""


class _Search:
    """`best` is the smallest graph so far that fails as it should."""

    def __init__(self, whole: Reproducer, tries: int, progress: Callable[[int], None]) -> None:
        self.whole = whole
        self.names = layer_names(whole.graph)
        self.best = Skeleton.of(whole.graph)
        self.pipeline = pipeline_of(whole)
        self.policy = whole.policy
        self.batch = batch_of(whole)
        self.count = 0
        self._tries = tries
        self._progress = progress
        self._blobs: Mapping[Ref, NDArray[Any]] | None = None

    def run(self) -> bool:
        """Search; whether the limit of tries ended it."""
        try:
            self._only_the_pass()
            size = max(1, len(self.best.names) // 2)
            while True:
                shorter = self._fewer_outputs() | self._fewer_layers(size)
                if size == 1 and not shorter:
                    return False
                size = max(1, size // 2)
        except _NoMoreTries:
            return True

    def fails(self, candidate: Skeleton) -> bool:
        """Whether a graph fails as the reproducer says; what is printed meanwhile is thrown away."""
        if self.count >= self._tries:
            raise _NoMoreTries
        self.count += 1
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            try:
                batch = self._feeds(candidate)
                graph = candidate.build()
                record = self._record(graph)
                broken = attempt(graph, self.pipeline, self.policy, batch, self.whole.tolerance, record=record)
            except (DiagnosticError, InvalidGraph):
                return False
        return broken is not None and failure_of(broken).like(self.whole.failure, self.names)

    def reproducer(self) -> Reproducer:
        """What is left, with what the policy says of the layers that are."""
        names = layer_names(graph := self.best.build())
        full = self.policy
        if full is not None:
            layers = {name: config for name, config in full.layers.items() if name in names}
            types = {name: type for name, type in full.types.items() if name in names}
            self.policy = replace(full, layers=layers, types=types)
            self._tries = self.count + 1
            if not self.fails(self.best):
                self.policy = full
        return replace(
            self.whole,
            graph=graph,
            pipeline=str(self.pipeline),
            policy=self.policy,
            batch=self._feeds(self.best),
            data=None,
            record=self._record(graph),
        )

    def _record(self, graph: Graph) -> ScaleRecord | None:
        """What the record says of the layers that a graph has."""
        whole = self.whole.record
        return None if whole is None else whole.only(layer_names(graph))

    def _only_the_pass(self) -> None:
        """Without the passes around it."""
        whole = self.pipeline
        step = next((step for step in whole.passes if step.name == self.whole.failure.step), None)
        if step is None or len(whole.passes) == 1:
            return
        self.pipeline = Pipeline((step,))
        if not self.fails(self.best):
            self.pipeline = whole

    def _fewer_outputs(self) -> bool:
        found = False
        for output in self.best.outputs:
            others = tuple(other for other in self.best.outputs if other != output)
            found |= bool(others) and self._take(self.best.with_outputs(others))
        return found

    def _fewer_layers(self, size: int) -> bool:
        found, index, names = False, 0, self.best.names
        while index < len(names):
            candidate = self.best.without(names[index : index + size])
            if candidate is not None and self._take(candidate):
                found = True
                left = set(self.best.names)
                names = (*(name for name in names[:index] if name in left), *names[index + size :])
                names = tuple(name for name in names if name in left)
                index = min(index, len(names))
            else:
                index += size
        return found

    def _take(self, candidate: Skeleton) -> bool:
        if not self.fails(candidate):
            return False
        self.best = candidate
        self._progress(len(candidate.names))
        return True

    def _feeds(self, candidate: Skeleton) -> Feeds | None:
        """Data for the inputs of a smaller graph: the given ones, and what the whole graph computed for the new."""
        if self.batch is None:
            return None
        feeds: dict[str, NDArray[Any]] = {}
        for layer in candidate.layers:
            for out in layer.outputs if layer.source else ():
                if layer.stands_for is not None:
                    feeds[out.blob] = self._computed(layer.stands_for, out.shape or ())
                elif out.blob in self.batch:
                    feeds[out.blob] = self.batch[out.blob]
        return feeds

    def _computed(self, ref: Ref, shape: tuple[int, ...]) -> NDArray[Any]:
        if self._blobs is None:
            self._blobs = self._run_whole()
        if ref in self._blobs:
            return self._blobs[ref]
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def _run_whole(self) -> Mapping[Ref, NDArray[Any]]:
        """Every blob of the whole graph; none where it does not run."""
        graph = self.whole.graph
        values = [value for node in graph.nodes for value in node.outputs if node.inputs]
        try:
            found = Executor(graph, fetch=values).run(self.batch or {})
        except Exception:  # of a graph in the middle of a pipeline, which need not run
            return {}
        return {(value.producer.name, value.index): array for value, array in found.items()}
