"""The layers of quantization-aware training."""

from __future__ import annotations

from amctc.dialects.retrain import data_bits
from amctc.ir.node import Shape
from amctc.quant.ulq import ulq_grid
from amctc.training.layers.layer import Layer, Run, Tensors
from amctc.training.quantizer_hooks import quantizers


def retrain_data(layer: Layer, shapes: tuple[Shape, ...]) -> Run:
    """Data on the grid of the clips that are learned; as they are, as long as the clips are no range."""
    high, low = layer.stored("clip_max"), layer.stored("clip_min")
    bits, fixed_min = data_bits(layer.node), bool(layer.node.attrs.get("fixed_min"))

    def run(inputs: Tensors) -> Tensors:
        if ulq_grid(float(high.detach()), float(low.detach()), bits=bits, fixed_min=fixed_min) is None:
            return inputs
        return (quantizers().ulq(inputs[0], high, low, bits=bits, fixed_min=fixed_min),)

    return run
