"""equalize-layers: even out the ranges of the channels between linear layers.

    Given   data -> conv1: Convolution (W1, b1) -> relu -> conv2: Convolution (W2, b2) -> out
    Result  data -> conv1: Convolution (W1/s, b1/s) -> relu -> conv2: Convolution (s*W2, b2) -> out

s[c] = sqrt(r1[c] * r2[c]) / r2[c] > 0 for each channel between the two, with r1[c] the largest magnitude of the weights
that give the channel and r2[c] that of those which read it. As relu(x/s) = relu(x)/s, the network computes what it did.
In a chain of layers each factor depends on its neighbours, so they are searched in rounds. Source: Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.dialects.scaling import channel_magnitudes, data_channels, scale_channels, way_obstacle, way_values
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node
from amctc.pipeline.balancing import uses_of_arrays
from amctc.pipeline.context import Context
from amctc.pipeline.options import option
from amctc.pipeline.pattern import Match
from amctc.pipeline.rewrite import RewritePass
from amctc.policy.settings import AUTO_STRENGTH
from amctc.quant.equalization import Factors, equalizing_factors
from amctc.runtime.channel_ranges import channel_ranges
from amctc.runtime.equalized_chain import ChainLayer, equalized_chain
from amctc.runtime.layer_errors import layer_errors

STRENGTHS: Final = (1.0, 0.75, 0.5, 0.25, 0.0)
"""The powers of the factors among which one is chosen."""


@dataclass(frozen=True)
class EqualizeLayers(RewritePass):
    """Even out the ranges of channels between consecutive linear layers, so that one scale for all of them fits.

    Between the layers there may be what is positively homogeneous in each channel (ReLU, PReLU, Pooling, Dropout), and
    Flatten or Reshape that keep the channels apart. Every value on the way is read by one layer alone and is no output
    of the network. ReLU6 and Clip are no such functions; `replace-relu6`, in front of this pass, makes them ReLU.
    Layers that share their weights with others are left alone. Of use most of all for depthwise convolutions, and for
    weights with one scale for a whole layer.
    """

    name: ClassVar[str] = "equalize-layers"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm", "depthwise-affine")
    before: ClassVar[tuple[str, ...]] = ("annotate-quant", "quantize-weights", "observe", "calibrate")
    preserves_numbers: ClassVar[bool] = True
    pattern: ClassVar[str] = "linear -> (linear|activation|homogeneous|reshaping)* -> linear"
    rounds: int = option(
        32, help="so often each pair of layers is gone through, unless all has settled before", least=1
    )
    most: float = option(1e4, help="the largest factor of a channel; the least is 1 divided by it", least=1, most=1e9)
    strength: str = option(
        "1",
        help="the power that each factor is raised to: from 0, which changes nothing, to 1, for equal ranges; or auto: "
        "for each chain of layers what leaves the least error of its output on the calibration data",
    )

    def __post_init__(self) -> None:
        if self.strength != AUTO_STRENGTH and not 0 <= _number(self.strength) <= 1:
            raise ValueError("`strength` is from 0 to 1")

    def check_node(self, node: Node, match: Match, context: Context) -> str | None:
        row = op_def(node)
        if row.linear is not None:
            return _linear_obstacle(node, context)
        if row.reshaping is not None:
            return None
        if row.homogeneous is not None and row.homogeneous(node):
            return None
        way_out = "; `replace-relu6` in front of this pass makes it a ReLU" if _is_bounded(node) else ""
        return f"{node.type} is not positively homogeneous: f(s*x) is not s*f(x){way_out}"

    def check(self, match: Match, context: Context) -> str | None:
        reasons = [_obstacle(link) for link in _links(match)]
        return None if None in reasons else reasons[0]

    def rewrite(self, match: Match, graph: Graph, context: Context) -> None:
        chain: list[_Link] = []
        for link in _links(match):
            reason = _obstacle(link)
            if reason is None:
                chain.append(link)
                continue
            context.refuse(self.name, link.second.name, reason)
            self._equalize(chain, context)
            chain = []
        self._equalize(chain, context)

    def _equalize(self, chain: Sequence[_Link], context: Context) -> None:
        """Scale the layers of an unbroken chain."""
        if not chain:
            return
        factors = self._factors(chain, context)
        layers = [chain[0].first, *(link.second for link in chain)]
        for link, divisors in zip(chain, factors, strict=True):
            context.divided.update({value.name: (at, divisors) for value, at in way_values(link.first, link.between)})
        for node, inputs, outputs in zip(layers, [None, *factors], [*factors, None], strict=True):
            scale_channels(node, inputs, outputs)
            node.record(self.name, " and ".join(_words(inputs, outputs)))
        context.counts["pairs"] += len(chain)

    def _factors(self, chain: Sequence[_Link], context: Context) -> list[Factors]:
        magnitudes = [channel_magnitudes(chain[0].first)]
        magnitudes += [channel_magnitudes(link.second, link.channels) for link in chain]
        whole = equalizing_factors(magnitudes, self.rounds, self.most)
        auto = self.strength == AUTO_STRENGTH
        strength = _measured(chain, whole, context) if auto else _number(self.strength)
        return [factors**strength for factors in whole]


@dataclass(frozen=True)
class _Link:
    """Two linear layers, and what is between them."""

    first: Node
    between: tuple[Node, ...]
    second: Node

    @property
    def channels(self) -> int:
        return linear_trait(self.first).out_channels(self.first)


def _measured(chain: Sequence[_Link], whole: Sequence[Factors], context: Context) -> float:
    """The power of a chain's factors that leaves the least error of what its last layer gives, all of it quantized.

    The largest of equals. One for the whole chain: what a link does to the error depends on all the others.
    """
    if context.policy is None or context.calibration is None:
        message = "`equalize-layers{strength=auto}` measures what quantization does on calibration data"
        raise error("AM281", message, help="run it with a policy and data (`amctc compile`), or give a number")
    graph, calibration = chain[0].first.graph, context.calibration
    nodes = [chain[0].first, *(link.second for link in chain)]
    axes = {node: found[0] for node in nodes if not isinstance(found := data_channels(node), str)}
    ranges = channel_ranges(graph, axes, calibration.batches())
    behind = [*(link.between for link in chain), ()]
    layers = [
        ChainLayer(node, between, context.policy.quant_of(node), ranges[node])
        for node, between in zip(nodes, behind, strict=True)
    ]
    trials = [equalized_chain(layers, [factors**power for factors in whole]) for power in STRENGTHS]
    errors = layer_errors(graph, {nodes[-1]: trials}, calibration.batches())[nodes[-1]]
    return STRENGTHS[int(np.argmin(errors))]


def _number(text: str) -> float:
    """The strength that a text says. Raises `ValueError` for what is no number."""
    return float(text)


def _links(match: Match) -> list[_Link]:
    found: list[_Link] = []
    first, between = match.first, list[Node]()
    for node in match.rest:
        if op_def(node).linear is None:
            between.append(node)
            continue
        found.append(_Link(first, tuple(between), node))
        first, between = node, []
    return found


def _obstacle(link: _Link) -> str | None:
    return way_obstacle(link.first, link.between, link.second)


def _linear_obstacle(node: Node, context: Context) -> str | None:
    trait = linear_trait(node)
    weight = node.weights.get(trait.weight)
    if weight is None:
        return f"`{node.name}` has no weights"
    if trait.channels is None:
        return f"the input channels of a {node.type} cannot be told apart"
    if weight.dtype.kind != "f":
        return f"the weights of `{node.name}` are quantized already"
    if len(node.inputs) != 1:
        return f"`{node.name}` has {len(node.inputs)} inputs, with the same weights for all"
    if node.inputs[0].shape is None:
        return f"the shape of what `{node.name}` reads is not known"
    uses = context.fact(uses_of_arrays, node.graph)
    if any(uses[id(array)] > 1 for array in node.weights.values()):
        return f"`{node.name}` shares its weights with another layer"
    return None


def _is_bounded(node: Node) -> bool:
    bounded = op_def(node).bounded
    return bounded is not None and not isinstance(bounded.bound(node), str)


def _words(inputs: NDArray[np.float64] | None, outputs: NDArray[np.float64] | None) -> list[str]:
    found: list[str] = []
    if inputs is not None:
        found.append(f"input channels times {_range(inputs)}")
    if outputs is not None:
        found.append(f"output channels divided by {_range(outputs)}")
    return found


def _range(factors: NDArray[np.float64]) -> str:
    return f"{factors.min():.4g} … {factors.max():.4g}"
