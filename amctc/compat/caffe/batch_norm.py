"""Layers that normalize by each batch: their blobs move with every forward pass, as in Caffe, and go into a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from amctc.compat.amct_caffe.log import log
from amctc.compat.caffe.engine import Engine, Part, is_repeatable, is_undisturbed
from amctc.compat.caffe.errors import as_caffe_errors
from amctc.compat.caffe.parameters import Parameters
from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.caffe.params import params
from amctc.dialects.op import OpError
from amctc.dialects.shapes import node_error
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.output import write_files
from amctc.runtime.batch_statistics import batch_statistics_nodes, statistics_trait
from amctc.targets.caffe.batch_norm_file import BATCH_NORM_FILE, batch_norm_file

_PART = "BatchNorm"
_FIELD = "bn_update_param"

Arrays: TypeAlias = dict[Value, NDArray[Any]]
RunPart: TypeAlias = Callable[[Part, Mapping[str, NDArray[Any]], Sequence[Value]], Arrays]


@dataclass(frozen=True)
class _Dump:
    """Which layers go into which file, and after how many forward passes."""

    nodes: tuple[Node, ...]
    iterations: int
    file: Path


class NetBatchNorm:
    """Renews the running statistics of a net with each forward pass.

    Where layers have a `bn_update_param`, their inputs are computed exactly as `amctc compile` does it until the
    file is written: in a run of their own where fetching other values with them could change a bit.
    """

    def __init__(self, graph: Graph, engine: Engine, parameters: Parameters) -> None:
        self._engine = engine
        self._parameters = parameters
        self._nodes = {node.name: node for node in batch_statistics_nodes(graph)}
        self._dump = _dump_of(graph)
        self._passes = 0
        """How many forward passes of the whole net there were."""
        self._repeatable = is_repeatable(graph)
        sharers = {other for node in self._nodes.values() for other in parameters.sharers(node)}
        self._read_elsewhere = not sharers <= set(self._nodes.values())

    @classmethod
    def of(cls, graph: Graph, engine: Engine, parameters: Parameters) -> NetBatchNorm | None:
        """Of a net with such layers; None for any other. Raises `CaffeError` (AM629) for a wrong `bn_update_param`."""
        with as_caffe_errors():
            found = cls(graph, engine, parameters)
        return found if found._nodes else None

    def run_whole(self, run: RunPart, part: Part, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value]) -> Arrays:
        """`run` for the whole net; with the last of the passes that the layers ask for the file is written."""
        found = self._run(run, part, feeds, fetch, exact=self._is_pending and self._repeatable)
        self._passes += 1
        if self._dump is not None and self._passes <= self._dump.iterations:
            log.info(_PART, f"batch {self._passes} of {self._dump.iterations} is done")
            if self._passes == self._dump.iterations:
                self._write(self._dump)
        return found

    def run_part(self, part: Part, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value]) -> Arrays:
        """`Engine.run` for some of the layers: those among them are renewed, and no pass is counted."""
        return self._run(self._engine.run, part, feeds, fetch, exact=False)

    @property
    def _is_pending(self) -> bool:
        return self._dump is not None and self._passes < self._dump.iterations

    def _run(
        self, run: RunPart, part: Part, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value], *, exact: bool
    ) -> Arrays:
        inputs = {self._nodes[node.name]: node.inputs[0] for node in part.graph.nodes if node.name in self._nodes}
        seen = dict.fromkeys(inputs.values())
        computed = [value for value in seen if not op_def(value.producer).source]
        given = {value: feeds[value.blob] for value in seen if op_def(value.producer).source}
        if exact and not is_undisturbed(part.graph, computed, fetch):
            self._renew(inputs, self._engine.run(part, feeds, computed) | given)
            return run(part, feeds, fetch)
        found = run(part, feeds, list(dict.fromkeys([*computed, *fetch])))
        self._renew(inputs, found | given)
        return {value: found[value] for value in fetch}

    def _renew(self, inputs: Mapping[Node, Value], arrays: Arrays) -> None:
        for node, value in inputs.items():
            # Layers that share their blobs renew them one after the other.
            self._parameters.put(node, statistics_trait(node).updated(node, arrays[value], _fraction(node)))
        if self._read_elsewhere:
            self._engine.forget()

    def _write(self, dump: _Dump) -> None:
        statistics = {node.name: node.weights for node in dump.nodes}
        with as_caffe_errors():
            write_files({dump.file: batch_norm_file(statistics)})
        log.info(_PART, f"the statistics of {len(dump.nodes)} layers are in the file {dump.file}")


def _fraction(node: Node) -> float:
    """What the layer says, or Caffe's default."""
    return float(params(node, "batch_norm_param").moving_average_fraction)


def _dump_of(graph: Graph) -> _Dump | None:
    """What the layers ask for, all of them the same; raises `DiagnosticError` (AM629) where they do not."""
    nodes = tuple(node for node in graph.nodes if _FIELD in node.attrs)
    collector = Collector()
    for node in nodes:
        problem = _wrong(node, nodes[0])
        if problem is not None:
            collector.add(problem)
    collector.raise_errors()
    if not nodes:
        return None
    param = params(nodes[0], _FIELD)
    return _Dump(nodes, int(param.iterations), Path(str(param.dump_dir)) / BATCH_NORM_FILE)


def _wrong(node: Node, first: Node) -> Diagnostic | None:
    trait = op_def(node).statistics
    if trait is None:
        return node_error("AM629", node, f"has a `{_FIELD}`, and no statistics to be renewed")
    if not trait.uses_batch(node):
        help = "say `use_global_stats: false` in its `batch_norm_param`"
        return node_error("AM629", node, f"has a `{_FIELD}`, and never renews its statistics", help)
    try:
        param, other = params(node, _FIELD), params(first, _FIELD)
    except OpError as problem:
        return node_error("AM629", node, f"its `{_FIELD}` is wrong: {problem}")
    if not param.iterations:
        return node_error("AM629", node, f"the `iterations` of its `{_FIELD}` must be 1 or more")
    if not param.dump_dir or "\0" in param.dump_dir:
        return node_error("AM629", node, f"the `dump_dir` of its `{_FIELD}` must name a folder")
    if param != other:
        message = f"has another `{_FIELD}` than `{first.name}`; all layers of a model end together"
        return node_error("AM629", node, message)
    return None
