"""Running a graph on arrays."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.dialects.ge import GE
from amctc.dialects.onnx.generic import ONNX
from amctc.dialects.shapes import annotate_dtypes, check_weights, infer_nodes, infer_shapes
from amctc.dialects.table import is_foreign, op_def
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.runtime.feeds import check_feeds
from amctc.runtime.hostops import HostOp, Run, host_ops_of
from amctc.runtime.lowering import lower_nodes
from amctc.runtime.lowering.builder import unique_names
from amctc.runtime.out_of_memory import cannot_run, out_of_memory
from amctc.runtime.plan import HostStep, Segment, Shown, last_readers, make_plan, needed_nodes
from amctc.runtime.session import CannotRun, Session
from amctc.runtime.session_cache import SessionCache


class Executor:
    """Computes chosen values of a graph, batch after batch.

    `fetch` are the values wanted (default: the graph's outputs); only what they depend on is run.
    `shapes` replaces the declared shapes of inputs, by blob name. `threads` is the number of threads
    of one op (default: all cores). `host_ops` come before the built-in ones. The graph and its
    weights must not be changed while the executor is in use. A session is built when its shapes are
    first met, as some layers' outputs are as large as their data say; those of the last two shapes
    are kept. `apart` are nodes that `run_together` shows before any other reads what they give; with `most_shown`
    it shows what there is as soon as fetched values take so many bytes. Without `finite` NaN and infinity may be
    fed. A recurrent layer goes on from the state in which the batch before left it, as in Caffe.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Mapping[str, Shape] | None = None,
        fetch: Sequence[Value] | None = None,
        threads: int | None = None,
        host_ops: Sequence[HostOp] = (),
        apart: Collection[Node] = (),
        finite: bool = True,
        most_shown: int | None = None,
    ) -> None:
        self._finite = finite
        self.graph = graph
        self.fetch = tuple(graph.outputs if fetch is None else fetch)
        self._threads = threads
        self._given = dict(shapes or {})
        self._declared = infer_shapes(graph, self._given)
        self._dtypes = annotate_dtypes(graph)
        self._inputs = graph_inputs(graph)
        sizes = {value: self._bytes(value) for value in self.fetch}
        shown = None if most_shown is None else Shown(sizes, most_shown)
        self.steps = make_plan(graph, self.fetch, self._dtypes, host_ops, apart, shown)
        # A source may have tops that nobody reads, such as the labels of a Data layer.
        read = {value for node in needed_nodes(graph, self.fetch) for value in node.inputs}
        self._needed = {value for value in (*read, *self.fetch) if op_def(value.producer).source}
        self._fetched_inputs = tuple(value for value in self.fetch if value in self._needed)
        self._last_reader = last_readers(self.steps)
        self._names = unique_names([value for node in graph.nodes for value in node.outputs])
        self._sessions = SessionCache(len(self.steps))
        self._started: dict[int, Run] = {}

    @property
    def in_order(self) -> bool:
        """Whether batches must run one by one: one depends on those before it, or code that is not ours runs."""
        hosts = [step for step in self.steps if isinstance(step, HostStep)]
        return any(
            step.op.begin or step.op not in host_ops_of(step.node.dialect) or is_foreign(step.node) for step in hosts
        )

    def with_threads(self, threads: int) -> Executor:
        """An executor of the same values, with sessions of its own that run one op in so many threads."""
        other = copy.copy(self)
        other._threads = threads
        other._sessions = SessionCache(len(self.steps))
        return other._alone()

    def beside(self) -> Executor:
        """An executor of the same values that shares the sessions of this one, for another thread at the same time.

        ValueError where batches must come in order.
        """
        if self.in_order:
            raise ValueError("this graph cannot run several batches at a time")
        return copy.copy(self)._alone()

    def _alone(self) -> Executor:
        """This copy, with what no other may have."""
        self._started = {}
        return self

    def prepare(self, number: int) -> None:
        """Build the session of a step for inputs of the shapes that the executor was made for, where these are known.

        It would be built anyway when the step is first run, perhaps while others wait. What cannot be built is not: an
        error is raised where the step is run.
        """
        step = self.steps[number]
        if isinstance(step, Segment) and all(value in self._declared for value in step.inputs):
            with suppress(DiagnosticError, CannotRun, MemoryError):
                self._session(number, step, {value: self._declared[value] for value in step.inputs})

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[Value, NDArray[Any]]:
        """The fetched values for one batch, keyed by value.

        `feeds` holds an array for every input that is needed, by blob name: of the input's element type, or
        numbers that this can hold. The batch may have another length than the model declares. Arrays of the
        result may be those of the feeds, where an input itself is fetched. Raises `DiagnosticError`:
        AM400 to AM404 for the feeds (see `check_feeds`), AM320 where the model does not fit the
        batch, AM420 for missing weights, AM421 where memory does not suffice, AM430 where an integer
        sum leaves 32 bits, AM437 for what ONNX Runtime cannot run.
        """
        (values,) = self._begin((feeds,))
        wanted = set(self.fetch)
        for number in range(len(self.steps)):
            self._step(number, values)
            self._forget((value for value in self._last_reader.get(number, ()) if value not in wanted), [values])
        return {value: values[value] for value in self.fetch}

    def run_together(
        self,
        batches: Iterable[Mapping[str, ArrayLike]],
        look: Callable[[tuple[Value, ...], Sequence[dict[Value, NDArray[Any]]]], None],
    ) -> None:
        """Run all batches side by side: each step on every batch before the next step begins.

        After each step `look` is given what the step has computed of the fetched values, and the values of each batch;
        before the first, the inputs that are fetched. It may put other arrays of the same shape in the place of these,
        which the later steps then read. All values that are still to be read are kept, of all batches (see
        `bytes_alive`); fetched ones are not kept for longer. Raises as `run` does.
        """
        for values, alive in self.steps_together(batches):
            look(values, alive)

    def steps_together(
        self, batches: Iterable[Mapping[str, ArrayLike]]
    ) -> Generator[tuple[tuple[Value, ...], Sequence[dict[Value, NDArray[Any]]]]]:
        """`run_together` for whoever runs several networks in turn: yields what `look` is given there."""
        alive = self._begin(batches)
        wanted = set(self.fetch)
        yield self._fetched_inputs, alive
        for number, step in enumerate(self.steps):
            for values in alive:
                self._step(number, values)
            yield tuple(value for value in step.outputs if value in wanted), alive
            self._forget(self._last_reader.get(number, ()), alive)

    def bytes_alive(self, shapes: Mapping[str, Shape] | None = None) -> int:
        """The most bytes that the values of one batch take at any time in `run_together`.

        For inputs of these shapes, or of those that the executor was made for. Without what a session needs inside, and
        without values whose shape only the data say.
        """
        known = self._declared if shapes is None else infer_shapes(self.graph, shapes)
        sizes = {value: 4 * math.prod(shape) for value, shape in known.items()}
        now = sum(sizes.get(value, 0) for value in self._needed)
        most = now
        for number, step in enumerate(self.steps):
            now += sum(sizes.get(value, 0) for value in step.outputs)
            most = max(most, now)
            now -= sum(sizes.get(value, 0) for value in self._last_reader.get(number, ()))
        return most

    def _begin(self, batches: Iterable[Mapping[str, ArrayLike]]) -> list[dict[Value, NDArray[Any]]]:
        return [{**check_feeds(feeds, self._inputs, self._declared, self._needed, self._finite)} for feeds in batches]

    def _forget(self, values: Iterable[Value], alive: Sequence[dict[Value, NDArray[Any]]]) -> None:
        """Let go of values that nobody reads any more, of each batch."""
        for value in values:
            for arrays in alive:
                del arrays[value]

    def _bytes(self, value: Value) -> int:
        """What a value takes where it has its declared shape; 0 where there is none."""
        return 4 * math.prod(self._declared.get(value, (0,)))

    def _step(self, number: int, values: dict[Value, NDArray[Any]]) -> None:
        """Add what a step computes."""
        step = self.steps[number]
        known = {value: values[value].shape for value in step.inputs}
        try:
            # Infinity and NaN are results, for numpy as they are for ONNX Runtime.
            with np.errstate(all="ignore"):
                if isinstance(step, HostStep):
                    values.update(self._host_step(number, step, known, values))
                else:
                    values.update(self._session(number, step, known).run(values))
        except MemoryError as failure:
            raise out_of_memory(step.nodes, known) from failure
        except CannotRun as failure:
            if not any(node.dialect in (ONNX, GE) for node in step.nodes):
                raise  # what our own rules write for layers that they know in full must run
            raise cannot_run(step.nodes, str(failure)) from failure

    def _host_step(
        self, number: int, step: HostStep, known: Mapping[Value, Shape], values: Mapping[Value, NDArray[Any]]
    ) -> Mapping[Value, NDArray[Any]]:
        inferred = infer_nodes([step.node], known)
        self._check_weights([step.node], {**known, **inferred})
        shapes = tuple(inferred[value] for value in step.outputs if value in inferred)
        inputs = tuple(values[value] for value in step.inputs)
        if number not in self._started:
            self._started[number] = step.op.start(step.node)
        return dict(zip(step.outputs, self._started[number](inputs, shapes), strict=True))

    def _check_weights(self, nodes: Sequence[Node], shapes: Mapping[Value, Shape]) -> None:
        """Raise `DiagnosticError` (AM320) where the weights do not fit shapes that the model does not declare.

        Those that it declares were compared with the weights when they were read.
        """
        unsaid = [
            node for node in nodes if any(shapes.get(value) != self._declared.get(value) for value in node.inputs)
        ]
        check_weights(unsaid, shapes)

    def _session(self, number: int, segment: Segment, known: Mapping[Value, Shape]) -> Session:
        def build() -> Session:
            shapes = infer_nodes(segment.nodes, known)
            self._check_weights(segment.nodes, {**known, **shapes})
            low = lower_nodes(self.graph, segment.nodes, shapes, self._dtypes, self._names)
            return Session(low, segment.inputs, segment.outputs, self._threads, in_turn=len(self.steps) > 1)

        return self._sessions.get(number, tuple(known.values()), build)


def run_graph(
    graph: Graph,
    feeds: Mapping[str, ArrayLike],
    blobs: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    host_ops: Sequence[HostOp] = (),
) -> dict[str, NDArray[Any]]:
    """Run one batch and give every blob, or the chosen ones, by name.

    A blob that is written in place holds its last value, as in Caffe. Raises `DiagnosticError`: AM408
    for an unknown blob, and what `Executor.run` raises.
    """
    latest = blob_values(graph)
    chosen = all_blobs(graph) if blobs is None else {name: find_blob(latest, name) for name in blobs}
    found = Executor(graph, fetch=list(chosen.values()), threads=threads, host_ops=host_ops).run(feeds)
    return {name: found[value] for name, value in chosen.items()}


def graph_inputs(graph: Graph) -> dict[str, Value]:
    """The inputs of the graph by blob name."""
    return {value.blob: value for node in graph.nodes if op_def(node).source for value in node.outputs}


def read_inputs(graph: Graph) -> dict[str, Value]:
    """The inputs that matter, by blob name: some layer reads them, or they are outputs themselves."""
    return {name: value for name, value in graph_inputs(graph).items() if graph.uses(value) or value in graph.outputs}


def blob_values(graph: Graph) -> dict[str, Value]:
    """The last value of every blob, in the order in which the blobs appear."""
    return {value.blob: value for node in graph.nodes for value in node.outputs}


def all_blobs(graph: Graph) -> dict[str, Value]:
    """`blob_values` but for inputs that no layer reads, such as labels: nobody need feed them."""
    fed = read_inputs(graph)
    return {
        name: value for name, value in blob_values(graph).items() if name in fed or not op_def(value.producer).source
    }


def find_blob(latest: Mapping[str, Value], name: str) -> Value:
    """The value of a blob. Raises `DiagnosticError` (AM408) where there is none of that name."""
    if name not in latest:
        raise error("AM408", f"the model has no blob `{name}`", help=did_you_mean(name, latest))
    return latest[name]
