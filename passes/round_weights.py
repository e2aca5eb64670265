"""round-weights: learn which way each weight is rounded, in place of rounding it to the nearest.

    Given   x -> conv: Convolution (W) -> relu: ReLU, annotated with `ada_quantize`
    Result  x -> conv: Convolution (Wq, scale) -> relu

Wq * scale is not what is nearest to W, but what makes relu(conv(x')) nearest to what relu gives in the float network,
on calibration data, for the x' that the network gives whose layers before have been rounded. The formulas are in
`amctc.quant.adaround`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from amctc.dialects.scaling import channels_of
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.ir import Graph, Node, WeightQuant
from amctc.ir.copying import copy_graph
from amctc.passes.quantize_weights import QuantizeWeights
from amctc.pipeline.context import Context
from amctc.pipeline.options import option
from amctc.pipeline.pass_ import Pass
from amctc.quant.adaround import AdaRoundSettings
from amctc.runtime.two_networks import settle_layers
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.rounding.layer import LearnedLayer

_IMAGE_FILTERS, _MATRIX = 4, 2
"""Axes of the weights of layers that can be rounded, with windows and without."""


@dataclass(frozen=True)
class RoundWeights(Pass):
    """Learn on calibration data which way the weights of each `ada_quantize` layer are rounded (AdaRound), on torch.

    The weights become integers on the grid that `quantize-weights` would put them on, and are annotated likewise.
    Layers are learned in the order of the graph, each with the activation behind it, so that its output for the input
    that the rounded layers before it give is near to its output in the float network. That is one run over the
    calibration data; the activations that are still to be read are kept meanwhile, of both networks, for as many of
    the first batches as take less than `memory`, and at least one. A layer whose learned weights do worse on these
    data than the nearest ones keeps the nearest. The same data and options give the same weights on the same machine.
    Layers of `num_iteration: 0` are rounded to the nearest, and need neither data nor torch.
    """

    name: ClassVar[str] = "round-weights"
    needs_before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    needs_after: ClassVar[tuple[str, ...]] = ("quantize-weights",)
    after: ClassVar[tuple[str, ...]] = (
        "fuse-batchnorm",
        "depthwise-affine",
        "equalize-layers",
        "balance-channels",
        "observe-means",
    )
    before: ClassVar[tuple[str, ...]] = ("observe", "calibrate")
    needs_calibration: ClassVar[bool] = True
    reach: float = option(30.0, help="the rate of Adam, which learns, times the iterations", least=1e-3, most=1000)
    samples: int = option(32, help="samples in an iteration, drawn from all", least=1, most=1 << 16)
    seed: int = option(0, help="what they are drawn with", least=0, most=(1 << 31) - 1)
    memory: int = option(1024, help="MiB of activations that may be kept", least=1, most=1 << 20)

    def batches(self, context: Context) -> int | None:
        if context.policy is None:
            return None
        found = [config.quant for config in context.policy.layers.values()]
        rounding = [quant.weight.rounding for quant in found if quant is not None and quant.weight is not None]
        return sum(each.num_iteration for each in rounding if each is not None)

    def run(self, graph: Graph, context: Context) -> bool:
        wanted = self._wanted(graph, context)
        if not wanted:
            return False
        quantized = copy_graph(graph)
        QuantizeWeights().run(quantized, replace(context, counts=Counter()))
        if context.collector.has_errors:
            return False
        learned = {node.name: rounding for node, rounding in wanted.items() if rounding.num_iteration}
        words = {node.name: "to the nearest" for node in wanted}
        if learned:
            words.update(self._learn(graph, quantized, learned, context))
        for node in wanted:
            twin = quantized.node(node.name)
            node.weights[linear_trait(node).weight] = twin.weights[linear_trait(node).weight]
            node.quant = twin.quant
            node.record(self.name, words[node.name], node.quant.rule if node.quant is not None else None)
        context.counts["layers"] += len(wanted)
        return True

    def _wanted(self, graph: Graph, context: Context) -> dict[Node, AdaRoundSettings]:
        uses = Counter(id(array) for node in graph.nodes for array in node.weights.values())
        wanted: dict[Node, AdaRoundSettings] = {}
        for node in graph.nodes:
            weight = node.quant.weight if node.quant is not None else None
            if weight is None or weight.rounding is None:
                continue
            reason = _obstacle(node, uses)
            if reason is None:
                wanted[node] = weight.rounding
            else:
                context.refuse(self.name, node.name, reason)
        return wanted

    def _learn(
        self, graph: Graph, quantized: Graph, settings: Mapping[str, AdaRoundSettings], context: Context
    ) -> dict[str, str]:
        """Give the layers of `quantized` their weights; what was done to each, in words."""
        need_torch("learned rounding (`ada_quantize`)")
        from amctc.rounding.layer import learn_layer
        from amctc.rounding.learning import Learning

        calibration = context.need_calibration()
        how = Learning(self.reach, self.samples, self.seed)
        words: dict[str, str] = {}
        done = 0

        def settle(name: str, given: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            nonlocal done
            node, twin, own, begun = graph.node(name), quantized.node(name), settings[name], done
            role, weight = linear_trait(node).weight, _annotation(twin)

            def tell(iteration: int) -> None:
                calibration.progress(begun + iteration)

            found = learn_layer(node, weight.scales[role], weight.bits, given, wanted, own, how, tell)
            twin.weights[role] = found.weights
            done += own.num_iteration
            words[name] = _words(found, own)
            return found.outputs

        settle_layers(graph, quantized, settings, calibration.batches(), self.memory << 20, settle)
        return words


def _annotation(node: Node) -> WeightQuant:
    if node.quant is None or node.quant.weight is None:
        raise ValueError(f"the weights of {node.name!r} are not to be quantized")
    return node.quant.weight


def _obstacle(node: Node, uses: Mapping[int, int]) -> str | None:
    """Why the rounding of a layer cannot be learned here; None where it can."""
    trait = op_def(node).linear
    if trait is None or trait.channels is None:
        return "it is no convolution and no product with a matrix"
    weight = node.weights[trait.weight]
    if weight.dtype.kind != "f":
        return "its weights are quantized already"
    if weight.ndim != (_MATRIX if trait.window is None else _IMAGE_FILTERS):
        return f"its weights have {weight.ndim} axes"
    if uses[id(weight)] > 1:
        return "it shares its weights with another layer"
    if len(node.inputs) != 1 or len(node.outputs) != 1:
        return f"it has {len(node.inputs)} inputs"
    shape = node.inputs[0].shape
    if shape is not None and channels_of(node).input_axis(node, shape) == 0:
        return "its channels are on the axis of the samples"
    return None


def _words(found: LearnedLayer, settings: AdaRoundSettings) -> str:
    behind = f" with `{found.activation}`" if found.activation is not None else ""
    error, nearest = found.rounded.error, found.rounded.nearest_error
    return (
        f"rounding learned{behind} in {settings.num_iteration} iterations on {found.samples} samples: "
        f"mean squared error {error:.4g}, of the nearest {nearest:.4g}"
    )
