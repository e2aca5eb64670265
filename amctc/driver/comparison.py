"""Two models on the same data, value by value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, error
from amctc.dialects.shapes import annotate_dtypes
from amctc.dialects.table import op_def
from amctc.driver.data import declared_batch, open_dataset
from amctc.frontends import Reading, load_model
from amctc.ir import Graph, Value
from amctc.progress import Progress, Silent
from amctc.runtime.comparison import Difference
from amctc.runtime.executor import Executor, all_blobs, find_blob, read_inputs

COMPARISON_VERSION = 1

_NUMBERS = ("float", "bfloat", "int", "uint", "bool")


@dataclass(frozen=True)
class ComparedValue:
    """One value of the first model, the reference, beside that of the second."""

    name: str
    """Its blob in the first model."""
    other: str
    """Its blob in the second model: the same name, but for what was paired otherwise."""
    layer: str
    """The layer of the first model that gives it, and that layer's type."""
    type: str
    output: bool
    """Whether it is an output of the first model."""
    difference: Difference

    def to_json(self) -> dict[str, object]:
        """As plain data; what is not finite is None, as JSON has no word for it."""
        top1 = self.difference.same_top1 if self.output else None
        return {
            "name": self.name,
            "other": self.other,
            "layer": self.layer,
            "type": self.type,
            "output": self.output,
            "cosine": _finite(self.difference.cosine),
            "sqnr_db": _finite(self.difference.sqnr),
            "largest_difference": _finite(self.difference.largest),
            "top1_agreement": top1,
        }

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table whose head is `COMPARISON_HEAD`."""
        found = self.difference
        name = self.name if self.name == self.other else f"{self.name}={self.other}"
        top1 = found.same_top1 if self.output else None
        told = "" if top1 is None else f"{top1:.4f}"
        return (
            name,
            self.layer,
            self.type,
            f"{found.cosine:.6f}",
            f"{found.sqnr:.2f}",
            f"{found.largest:.4g}",
            told,
        )


COMPARISON_HEAD = ("value", "layer", "type", "cosine", "SQNR in dB", "largest difference", "same top-1")


@dataclass(frozen=True)
class NotCompared:
    """A value that both models have and that could not be compared, with the reason."""

    name: str
    other: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """Two models over `count` samples: their common values in the order of the first model."""

    count: int
    values: tuple[ComparedValue, ...]
    not_compared: tuple[NotCompared, ...]

    def to_json(self) -> dict[str, object]:
        """As plain data, with the version of its form. A later version may have more keys, never fewer."""
        return {
            "version": COMPARISON_VERSION,
            "count": self.count,
            "values": [value.to_json() for value in self.values],
            "not_compared": [{"name": each.name, "other": each.other, "why": each.why} for each in self.not_compared],
        }


@dataclass(frozen=True)
class _Pair:
    left: Value
    right: Value

    @property
    def told(self) -> str:
        left, right = self.left.blob, self.right.blob
        return f"`{left}`" if left == right else f"`{left}` of the first and `{right}` of the second model"


def compare(
    a: Graph,
    b: Graph,
    *,
    data: Any,
    blobs: Sequence[str] | None = None,
    batch_size: int | None = None,
    preprocess: str | None = None,
    progress: Progress | None = None,
    collector: Collector | None = None,
) -> Comparison:
    """Run two graphs on the same data and compare their values; those of `a` count as right.

    Compared are the float values whose names both have, and the outputs: those without a common name by their
    position. `blobs` names others: `NAME`, or `NAME=OTHER` with the name in `b` behind the sign. An input of `b` takes
    the data of that name in `a`, or of the same position among those that differ. One batch is held at a time, with
    the values to compare. Warnings go to `collector`: AM468 for outputs of different shapes. Raises `DiagnosticError`:
    AM400 where `b` has inputs that `a` has not, AM408 for an unknown blob, AM467 where there is nothing to compare,
    AM468 for values of `blobs` whose shapes differ, and what opening the data and running raise.
    """
    report, told = progress or Silent(), collector if collector is not None else Collector()
    sources = _inputs_of_b(a, b)
    pairs = _pairs(a, b) if blobs is None else _chosen(a, b, blobs)
    dataset = open_dataset(a, data, preprocess, told)
    found = {pair: Difference() for pair in pairs}
    dropped: dict[_Pair, str] = {}
    size, done = batch_size or declared_batch(a), 0
    executors = Executor(a, fetch=[pair.left for pair in pairs]), Executor(b, fetch=[pair.right for pair in pairs])
    report.begin("compare", dataset.count)
    for feeds in dataset.batches(size):
        left = executors[0].run(feeds)
        right = executors[1].run({name: feeds[source] for name, source in sources.items()})
        for pair in [pair for pair in pairs if pair not in dropped]:
            one, other = left[pair.left], right[pair.right]
            if one.shape != other.shape:
                dropped[pair] = _shapes_differ(pair, one, other, blobs is not None, a.is_output(pair.left), told)
            else:
                found[pair].update(one, other)
        done += size if dataset.count is None else min(size, dataset.count - done)
        report.step(done)
    report.end()
    if len(dropped) == len(pairs):
        raise _nothing_in_common("each value that both have is of another shape in each of them")
    return Comparison(
        done,
        tuple(_compared(a, pair, found[pair]) for pair in pairs if pair not in dropped),
        tuple(NotCompared(pair.left.blob, pair.right.blob, why) for pair, why in dropped.items()),
    )


def compare_models(
    model_a: str | Path,
    model_b: str | Path,
    *,
    data: Any,
    weights_a: str | Path | None = None,
    weights_b: str | Path | None = None,
    blobs: Sequence[str] | None = None,
    batch_size: int | None = None,
    preprocess: str | None = None,
    progress: Progress | None = None,
    collector: Collector | None = None,
    **reading: Unpack[Reading],
) -> Comparison:
    """Compare the models of two files, of any format each; see `compare`. Warnings go to `collector`."""
    told = collector if collector is not None else Collector()
    a, b = load_model(model_a, weights_a, told, **reading), load_model(model_b, weights_b, told, **reading)
    return compare(
        a,
        b,
        data=data,
        blobs=blobs,
        batch_size=batch_size,
        preprocess=preprocess,
        progress=progress,
        collector=told,
    )


def _pairs(a: Graph, b: Graph) -> list[_Pair]:
    """The values to compare, in the order of the first graph."""
    types = {**annotate_dtypes(a), **annotate_dtypes(b)}
    left, right = all_blobs(a), all_blobs(b)
    outputs = {value.blob for value in a.outputs} & {value.blob for value in b.outputs}
    found: dict[Value, Value] = {}
    for name, value in left.items():
        other = right.get(name)
        if other is None or op_def(value.producer).source:
            continue
        kinds = ("float",) if name not in outputs else _NUMBERS
        if all(types[each].startswith(kinds) for each in (value, other)):
            found[value] = other
    for value, other in zip(a.outputs, b.outputs, strict=False):
        if value not in found and other not in found.values():
            found[value] = other
    if not found:
        raise _nothing_in_common("no value of the one has the name of one of the other")
    return [_Pair(value, found[value]) for node in a.nodes for value in node.outputs if value in found]


def _chosen(a: Graph, b: Graph, blobs: Sequence[str]) -> list[_Pair]:
    left, right = all_blobs(a), all_blobs(b)
    found: list[_Pair] = []
    for text in blobs:
        name, sign, other = text.partition("=")
        if text in left or not sign:  # a name may have the sign in it
            name = other = text
        found.append(_Pair(find_blob(left, name), find_blob(right, other)))
    return found


def _inputs_of_b(a: Graph, b: Graph) -> Mapping[str, str]:
    """For each input of `b` the input of `a` that takes the same data."""
    left, right = read_inputs(a), read_inputs(b)
    rest = [name for name in left if name not in right]
    found = {name: name for name in right if name in left}
    unnamed = [name for name in right if name not in left]
    if len(unnamed) > len(rest):
        names = ", ".join(f"`{name}`" for name in unnamed)
        message = f"the second model has inputs that the first has not: {names}"
        raise error("AM400", message, help="give the model with more inputs first")
    return found | dict(zip(unnamed, rest, strict=False))


def _shapes_differ(
    pair: _Pair, left: NDArray[Any], right: NDArray[Any], asked: bool, output: bool, told: Collector
) -> str:
    why = f"its shape is {left.shape} in the first model and {right.shape} in the second"
    message = f"{pair.told}: {why}"
    if asked:
        raise error("AM468", message, help="name values of one shape in `--blobs`")
    if output:
        told.add(Diagnostic("AM468", message, level=Level.WARNING, help="it is not compared"))
    return why


def _compared(graph: Graph, pair: _Pair, difference: Difference) -> ComparedValue:
    node = pair.left.producer
    output = graph.is_output(pair.left)
    return ComparedValue(pair.left.blob, pair.right.blob, node.name, node.type, output, difference)


def _nothing_in_common(why: str) -> DiagnosticError:
    help = "say which values stand for each other: `--blobs NAME=OTHER`"
    return error("AM467", f"the models have nothing to compare: {why}", help=help)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
