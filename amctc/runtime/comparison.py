"""How well the layers of a quantized graph agree with those of the float graph they came from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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

    def update(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        a, b = reference.ravel().astype(np.float64), other.ravel().astype(np.float64)
        self.reference += float(a @ a)
        self.other += float(b @ b)
        self.product += float(a @ b)
        self.error += float((a - b) @ (a - b))

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
