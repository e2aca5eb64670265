"""Whether the passes that claim to leave the numbers of a network alone do so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Diagnostic, DiagnosticError, error
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node, Value
from amctc.pipeline.context import Context, Feeds
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.runtime.executor import Executor, graph_inputs, read_inputs
from amctc.runtime.plan import needed_nodes

TOLERANCE = 1e-4
"""A blob may differ by this part of its largest magnitude."""

_NEGLIGIBLE = 1e-6
"""Part of the largest number of the whole network below which a blob holds nothing but rounding errors."""


@dataclass(frozen=True)
class _Numbers:
    """What a graph computed: every value that an output depends on, by name; and that of each blob at the end."""

    values: Mapping[str, NDArray[Any]]
    blobs: Mapping[str, NDArray[Any]]


class NotEquivalent(DiagnosticError):
    """A pass that claims to preserve the numbers changed some (AM530); `number` is that of its run.

    `what` says in short what it did, `tolerance` is that of the check.
    """

    def __init__(self, step: Pass, number: int, what: str, tolerance: float, diagnostic: Diagnostic) -> None:
        self.tolerance = tolerance
        self.step = step
        self.number = number
        self.what = what
        super().__init__(diagnostic)


class CheckEquivalence(Instrument):
    """Runs the graph on the first calibration batch before and after every pass that `preserves_numbers`.

    All blobs that both graphs have and that an output depends on are compared, in topological order. A blob that
    is written in place counts with its last value; where that differs, the first of its layers that does is named.
    A pass that makes no such claim and changes the graph sets a new beginning, which is worked out when the next
    claim is to be checked. What a pass has divided inside the network, where all that reads it computes as before, is
    multiplied again before it is compared. One batch of blobs is kept, a second lives while it is compared. Raises
    `DiagnosticError`: AM532 without calibration data, and `NotEquivalent`.
    """

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        self._tolerance = tolerance
        self._feeds: Feeds = {}
        self._baseline: _Numbers | None = None

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        self._baseline = None
        first = next(iter(context.calibration.batches()), None) if context.calibration is not None else None
        if first is None:
            raise error("AM532", "there are no data to run the network on", help="give calibration data")
        # The data set may use its arrays again.
        self._feeds = {name: np.array(array) for name, array in first.items()}

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        if step.preserves_numbers and self._baseline is None:
            self._baseline = _run(graph, self._feeds)

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if not run.changed:
            return
        if not run.step.preserves_numbers or self._baseline is None:
            self._baseline = None
            return
        try:
            found = _run(graph, self._feeds)
        except Exception as failure:  # whatever a wrong graph makes the runtime do: it ran before this pass
            what = "leaves a network that does not run"
            message = f"the pass `{run.name}` claims to preserve the numbers, and {what}"
            told = Diagnostic("AM530", message, notes=(_reason(failure),))
            raise NotEquivalent(run.step, run.number, what, self._tolerance, told) from None
        self._compare(run, graph, self._baseline, _multiplied(graph, found, context))
        self._baseline = found

    def _compare(self, run: PassRun, graph: Graph, before: _Numbers, after: _Numbers) -> None:
        least = _NEGLIGIBLE * max((_magnitude(array) for array in before.blobs.values()), default=0.0)

        def differs(old: NDArray[Any] | None, new: NDArray[Any]) -> str | None:
            return None if old is None else _difference(old, new, self._tolerance, least)

        writers: dict[str, list[Value]] = {}
        for value in _live_values(graph):
            writers.setdefault(value.blob, []).append(value)
        for blob, values in writers.items():
            at_the_end = differs(before.blobs.get(blob), after.blobs[blob])
            if at_the_end is None:
                continue
            # Of a blob written in place, the first layer that can be compared.
            each = ((value, differs(before.values.get(value.name), after.values[value.name])) for value in values)
            value, how = next(((value, how) for value, how in each if how is not None), (values[-1], at_the_end))
            told = _diagnostic(run, value, how, self._tolerance)
            raise NotEquivalent(run.step, run.number, "changes the numbers", self._tolerance, told)


def _run(graph: Graph, feeds: Feeds) -> _Numbers:
    wanted = _live_values(graph)
    inputs = graph_inputs(graph)
    known = {name: array for name, array in feeds.items() if name in inputs}
    found = Executor(graph, fetch=wanted).run(known)
    return _Numbers({value.name: found[value] for value in wanted}, {value.blob: found[value] for value in wanted})


def _multiplied(graph: Graph, found: _Numbers, context: Context) -> _Numbers:
    """What the graph would have computed, had the pass not divided channels inside of it."""
    if not context.divided:
        return found
    values = dict(found.values)
    for name in values.keys() & context.divided.keys():
        axis, divisors = context.divided[name]
        array = values[name]
        parts = array.reshape(math.prod(array.shape[:axis]), len(divisors), -1) * divisors[:, np.newaxis]
        values[name] = parts.reshape(array.shape)
    return _Numbers(values, {value.blob: values[value.name] for value in _live_values(graph)})


def _live_values(graph: Graph) -> list[Value]:
    """Every value that an output depends on (all values, where there is no output), in topological order."""
    fed = read_inputs(graph)
    nodes = needed_nodes(graph, graph.outputs) if graph.outputs else graph.nodes
    return [value for node in nodes for value in node.outputs if value.blob in fed or not op_def(node).source]


def _difference(before: NDArray[Any], after: NDArray[Any], tolerance: float, least: float) -> str | None:
    """How two arrays differ, as words; None where they are equal within the tolerance."""
    if before.shape != after.shape:
        return f"its shape was {list(before.shape)} and is {list(after.shape)}"
    old, new = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(old) & np.isfinite(new)
    unlike = ~finite & ~((old == new) | (np.isnan(old) & np.isnan(new)))
    if unlike.any():
        at = _where(unlike)
        return f"it was {old[at]:g} and is {new[at]:g} at {list(at)}"
    away = np.abs(np.where(finite, old, 0) - np.where(finite, new, 0))
    most = max(_magnitude(before), _magnitude(after), least)
    if not away.size or away.max() <= tolerance * most:
        return None
    at = _where(away == away.max())
    share = away[at] / most
    return f"it differs by {share:.2g} of its largest magnitude: was {old[at]:g} and is {new[at]:g} at {list(at)}"


def _magnitude(array: NDArray[Any]) -> float:
    floats = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(floats.max()) if floats.size else 0.0


def _where(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(mask.argmax()), mask.shape))


def _diagnostic(run: PassRun, value: Value, how: str, tolerance: float) -> Diagnostic:
    node = value.producer
    origin = node.origin
    message = (
        f"the pass `{run.name}` claims to preserve the numbers, but the first layer that differs is `{node.name}` "
        f"({node.type}), in blob `{value.blob}`: {how}"
    )
    return Diagnostic(
        "AM530",
        message,
        span=origin.span if origin is not None else None,
        file=str(origin) if origin is not None and origin.span is None else None,
        notes=tuple(_story(node)),
        help=f"correct the pass, or let it not claim `preserves_numbers`; {tolerance:g} is tolerated",
    )


def _story(node: Node) -> list[str]:
    """Where the layer comes from, beside its place."""
    provenance = node.provenance
    told: list[str] = []
    if provenance.inserted:
        told.append(f"a pass made `{node.name}`")
    if provenance.absorbed:
        told.append(f"`{node.name}` has absorbed {', '.join(f'`{name}`' for name in provenance.absorbed)}")
    told.extend(f"{change.by}: {change.what}" for change in provenance.changes)
    return told


def _reason(failure: Exception) -> str:
    if isinstance(failure, DiagnosticError):
        return failure.diagnostics[0].message
    return " ".join(f"{type(failure).__name__}: {failure}".split())[:500]
