"""balance-channels: move part of the range of each input channel from the data of a layer into its weights.

    Given   x -> conv: Convolution (W, b) -> out
    Result  x -> conv.mul: Scale (1/f) -> conv: Convolution (f*W, b) -> out

f[c] = a[c]^m / w[c]^(1-m) for each input channel, with a[c] and w[c] the largest magnitudes of its data and of its
weights, and m the migration strength. With one scale for all channels of the data, a channel that is much larger than
the others leaves them few of the integers; the weights, whose channels then differ more, have scales of their own.
Source: AMCT's DMQ balancer; SmoothQuant (Xiao et al. 2022, arXiv:2211.10438).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.scaling import channel_magnitudes, data_channels
from amctc.ir import Balance, Graph, Node
from amctc.pipeline.balancing import apply_balance, balance_obstacle, way_to
from amctc.pipeline.context import Calibration, Context, Feeds
from amctc.pipeline.options import option
from amctc.pipeline.pass_ import Pass
from amctc.policy.settings import AUTO_STRENGTH
from amctc.quant.balancing import LEAST_STRENGTH, MOST_STRENGTH, STRENGTHS, balance_factors
from amctc.runtime.balanced_layer import balanced_layer
from amctc.runtime.channel_ranges import ChannelRange, channel_ranges
from amctc.runtime.layer_errors import Alternative, layer_errors

POLICY: Final = "policy"
_HALVES: Final = 2
_WORTH: Final = 0.98
"""A balance that leaves more of the error than this is not worth a layer of its own."""


@dataclass(frozen=True)
class BalanceChannels(Pass):
    """Divide the input channels of linear layers by factors, and multiply their weights, before either is quantized.

    The layers are those for which the policy says `dmq_balancer`; with a `migration_strength` of its own the pass takes
    all others with weights, too. The factors come from one run over the calibration data. Where a strength is chosen by
    measured error, half of the batches say the ranges, and the others are run again to measure on. The network computes
    what it did.
    """

    name: ClassVar[str] = "balance-channels"
    after: ClassVar[tuple[str, ...]] = ("fuse-batchnorm", "depthwise-affine", "equalize-layers")
    before: ClassVar[tuple[str, ...]] = ("observe-means", "quantize-weights", "observe", "calibrate")
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    needs_policy: ClassVar[bool] = True
    needs_calibration: ClassVar[bool] = True
    migration_strength: str = option(
        POLICY,
        help="for layers of which the policy says nothing: a number from 0.2 to 0.8, auto (for each layer what leaves "
        "the least error of its output, or no balance), or policy: they are left alone",
    )
    fold: bool = option(
        False,
        help="divide the layer that gives the channels, where there is one alone, and not by a layer of its own",
    )

    def __post_init__(self) -> None:
        if self.migration_strength not in (POLICY, AUTO_STRENGTH):
            _number(self.migration_strength)

    def skip_reason(self, context: Context) -> str | None:
        if self.migration_strength != POLICY or context.need_policy().balances:
            return None
        return "the policy has no `dmq_balancer`"

    def batches(self, context: Context) -> int | None:
        once = context.need_calibration().batch_num
        again = AUTO_STRENGTH in self._strengths(context).values()
        return once + max(1, once // _HALVES) if again else once

    def run(self, graph: Graph, context: Context) -> bool:
        asked = self._strengths(context)
        layers = {node: asked[node.name] for node in graph.nodes if node.name in asked and self._fits(node, context)}
        if not layers:
            return False
        calibration = context.need_calibration()
        axes = {node: found[0] for node in layers if not isinstance(found := data_channels(node), str)}
        halves = _halves(calibration)
        parts = [channel_ranges(graph, axes, half(), calibration.progress) for half in halves]
        ranges = {node: reduce(ChannelRange.joined, (part[node] for part in parts)) for node in layers}
        measured = [node for node, strength in layers.items() if isinstance(strength, str)]
        best = _measured(graph, {node: parts[0][node] for node in measured}, halves[-1], context)
        chosen = {node: best[node] if isinstance(asked, str) else asked for node, asked in layers.items()}
        for node, strength in chosen.items():
            if strength is None:
                context.refuse(self.name, node.name, "no strength leaves a smaller error of its output")
                continue
            try:
                factors = _factors(node, ranges[node], strength)
            except DiagnosticError as mistake:
                context.collector.extend(mistake.diagnostics)
                continue
            why = f"migration strength {strength:g}"
            balance = Balance(tuple(factors.tolist()), self.fold and not isinstance(way_to(node, context), str))
            apply_balance(node, balance, self.name, why, context)
            context.counts["layers"] += 1
            context.counts["folded"] += balance.folded
        return context.counts["layers"] > 0

    def _strengths(self, context: Context) -> dict[str, str | float]:
        """The strength that is asked for, by the layer's name."""
        own = self.migration_strength
        found: dict[str, str | float] = {}
        for name, config in context.need_policy().layers.items():
            if not config.quant_enable.value or config.weights is None:
                continue
            if config.migration_strength is not None:
                found[name] = config.migration_strength.value
            elif own != POLICY:
                found[name] = own if own == AUTO_STRENGTH else _number(own)
        return found

    def _fits(self, node: Node, context: Context) -> bool:
        if node.quant is None or node.quant.weight is None:
            return False
        reason = "it is balanced already" if node.quant.balance is not None else balance_obstacle(node, context)
        if reason is not None:
            context.refuse(self.name, node.name, reason)
        return reason is None


def _halves(calibration: Calibration) -> list[Callable[[], Iterator[Feeds]]]:
    """Every second batch, and the others; all of them where there is but one."""
    if calibration.batch_num < _HALVES:
        return [calibration.batches]
    return [partial(_every_second, calibration, start) for start in range(_HALVES)]


def _every_second(calibration: Calibration, start: int) -> Iterator[Feeds]:
    return islice(calibration.batches(), start, None, _HALVES)


def _measured(
    graph: Graph, seen: Mapping[Node, ChannelRange], batches: Callable[[], Iterator[Feeds]], context: Context
) -> dict[Node, float | None]:
    """The strength of each layer that leaves the least error on these batches, None where none is worth it.

    `seen` are the ranges of other batches, where there are some: a strength that fits the channels too closely to what
    was seen cuts off what was not.
    """
    if not seen:
        return {}
    trials = {node: list(_trials(node, each)) for node, each in seen.items()}
    tried = {node: [trial for _, trial in each] for node, each in trials.items()}
    errors = layer_errors(graph, tried, batches(), context.need_calibration().progress)
    return {node: _best([strength for strength, _ in each], errors[node]) for node, each in trials.items()}


def _trials(node: Node, seen: ChannelRange) -> Iterator[tuple[float | None, Alternative]]:
    """A layer as it is quantized without a balance (None), and with each strength that has legal factors."""
    yield None, balanced_layer(node, np.ones(len(seen.least), np.float32), seen)
    for strength in STRENGTHS:
        try:
            factors = _factors(node, seen, strength)
        except DiagnosticError:
            continue
        yield strength, balanced_layer(node, factors, seen)


def _best(strengths: Sequence[float | None], errors: NDArray[np.float64]) -> float | None:
    """The strength with the least error; None, which is the first, where that is hardly less than without a balance."""
    least = int(np.argmin(errors))
    return strengths[least] if errors[least] < _WORTH * errors[0] else None


def _factors(node: Node, seen: ChannelRange, strength: float) -> NDArray[np.float32]:
    weights = channel_magnitudes(node, len(seen.least)).max(axis=1, initial=0).reshape(-1)
    return balance_factors(seen.magnitudes, weights, strength, node.name)


def _number(text: str) -> float:
    """The strength that a text says. Raises `ValueError` for any other text."""
    try:
        strength = float(text)
    except ValueError:
        raise ValueError(f"`migration_strength` is {POLICY}, {AUTO_STRENGTH} or a number, not `{text[:20]}`") from None
    if not LEAST_STRENGTH <= strength <= MOST_STRENGTH:
        raise ValueError(f"`migration_strength` is from {LEAST_STRENGTH} to {MOST_STRENGTH}")
    return strength
