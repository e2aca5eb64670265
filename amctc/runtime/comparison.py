"""How well the values of two graphs agree, and the layers of a quantized one with those it came from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Graph, Node, Value
from amctc.runtime.executor import Executor


@dataclass
class Agreement:
    """Sums over two streams of equal shape, in float64: enough for cosine and SQNR."""

    reference: float = 0.0
    other: float = 0.0
    product: float = 0.0
    error: float = 0.0

    def update(self, reference: NDArray[Any], other: NDArray[Any]) -> None:
        a, b = (array.ravel().astype(np.float64, copy=False) for array in (reference, other))
        apart = a - b
        self.reference += float(a @ a)
        self.other += float(b @ b)
        self.product += float(a @ b)
        self.error += float(apart @ apart)

    @property
    def cosine(self) -> float:
        """Cosine similarity; 1 for two streams of zeros."""
        norms = math.sqrt(self.reference * self.other)
        return self.product / norms if norms else float(self.error == 0)

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise in dB; infinite when nothing differs."""
        if self.error == 0:
            return math.inf
        return 10 * math.log10(self.reference / self.error) if self.reference else -math.inf


@dataclass
class Difference:
    """How far one stream of arrays is from another of equal shapes: what `Agreement` says, and more.

    Where both hold the same infinity, or both NaN, they agree, and only other elements count.
    """

    agreement: Agreement = field(default_factory=Agreement)
    largest: float = 0.0
    """The largest absolute difference; infinite where one of two elements is finite, or they differ beyond that."""
    rows: int = 0
    """Rows of scores so far; 0 where the arrays are none."""
    same_class: int = 0
    """Rows whose highest score is of the same class."""

    def update(self, reference: NDArray[Any], other: NDArray[Any]) -> None:
        """Take in a batch of each; arrays of the same shape, of numbers of any type."""
        self._count_classes(reference, other)
        a, b = reference.ravel().astype(np.float64), other.ravel().astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
                self.largest = math.inf
            a, b = a[finite], b[finite]
        self.agreement.update(a, b)
        self.largest = max(self.largest, float(np.abs(a - b).max(initial=0)))

    def _count_classes(self, reference: NDArray[Any], other: NDArray[Any]) -> None:
        if reference.ndim < 2 or reference.shape[1] < 2 or reference.size != reference.shape[0] * reference.shape[1]:
            return
        left, right = (array.reshape(array.shape[:2]).argmax(axis=1) for array in (reference, other))
        self.rows += len(left)
        self.same_class += int(np.count_nonzero(left == right))

    @property
    def cosine(self) -> float:
        """Cosine similarity of the finite elements; 1 for two streams of zeros."""
        return self.agreement.cosine

    @property
    def sqnr(self) -> float:
        """Signal to noise in dB; infinite when nothing differs, minus infinity where the difference is infinite."""
        return -math.inf if math.isinf(self.largest) else self.agreement.sqnr

    @property
    def same_top1(self) -> float | None:
        """How often the class is the same, 0 to 1; None where the arrays are no rows of scores, [N, classes, 1…]."""
        return self.same_class / self.rows if self.rows else None


@dataclass(frozen=True)
class LayerAgreement:
    """One quantized layer beside the original; `node` is the one of the quantized graph."""

    node: Node
    cosine: float
    sqnr: float


def layer_agreement(
    original: Graph, quantized: Graph, batches: Iterable[Mapping[str, NDArray[np.float32]]]
) -> tuple[LayerAgreement, ...]:
    """Compare the output of every annotated layer with that of the layer it stands for, over all batches."""
    pairs = {node: _pair(original, node) for node in quantized.nodes if node.quant is not None}
    known = {node: pair for node, pair in pairs.items() if pair is not None}
    reference = Executor(original, fetch=[pair[0] for pair in known.values()])
    simulated = Executor(quantized, fetch=[pair[1] for pair in known.values()])
    found = {node: Agreement() for node in known}
    for feeds in batches:
        left, right = reference.run(feeds), simulated.run(feeds)
        for node, (before, after) in known.items():
            found[node].update(left[before], right[after])
    return tuple(LayerAgreement(node, agreement.cosine, agreement.sqnr) for node, agreement in found.items())


def _pair(original: Graph, node: Node) -> tuple[Value, Value] | None:
    last = node.provenance.absorbed[-1] if node.provenance.absorbed else node.name
    if last not in original or not node.outputs:
        return None
    value = node.output
    for use in node.graph.uses(value):
        if use.node.op == "quant.Dequantize":
            value = use.node.output
    return original.node(last).output, value
