"""The layers of quantization-aware training."""

from __future__ import annotations

from amctc.dialects.retrain import data_bits
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.training.layers.layer import Layer, Run, Tensors
from amctc.training.quantizers import UlqState, ulq


def retrain_data(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Data on the grid of the clips that are learned; as they are, as long as the clips are no range.

    In phase TRAIN the clips begin with what IFMR finds, where the layer says so, and are put back where a step has
    spoilt them.
    """
    high, low = layer.stored("clip_max"), layer.stored("clip_min")
    bits, fixed_min = data_bits(layer.node), bool(layer.node.attrs.get("fixed_min"))
    state = layer.clips

    def run(inputs: Tensors) -> Tensors:
        if state is None:
            return (ulq(inputs[0], high, low, bits=bits, fixed_min=fixed_min),)
        return (state.quantize(inputs[0], high, low),)

    return run


def learned_clips(node: Node) -> UlqState:
    """What a RetrainData remembers in a training that begins."""
    batches = node.attrs.get("batch_num", 1)
    return UlqState(
        bits=data_bits(node),
        fixed_min=bool(node.attrs.get("fixed_min")),
        batches=batches if node.attrs.get("ifmr_init") and isinstance(batches, int) else 0,
        name=str(node.attrs.get("layer", node.name)),
    )
