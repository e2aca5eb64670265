"""The quant dialect: how every format's quantized form is held inside the graph.

`Observe` reads a value during calibration and writes nothing. `Quantize` maps float32 to integers,
`Dequantize` maps the int32 sums of a linear layer back to float32, `AntiQuantize` maps integers
straight back to float32. `RetrainData` does both at once, by a range that training learns. A linear
layer whose data input is the output of a Quantize computes on integers: its weights are int8, its bias
int32, its output int32 (or, in a fake-quant file, the same integers held in float32).
"""

from __future__ import annotations

from collections.abc import Mapping

from amctc.dialects.op import ONE, Arity, OpDef
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.text.plain import Plain


def _same(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return (shapes[0],)


def _none(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return ()


def _clips(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"clip_max": (1,), "clip_min": (1,)}


def _storage(node: Node) -> tuple[str, ...]:
    if node.attrs.get("centered"):
        return ("float32",)
    bits = node.attrs["bits"]
    return ("int8" if isinstance(bits, int) and bits <= 8 else "int16",)


def _floats(node: Node) -> tuple[str, ...]:
    return (str(node.attrs.get("dtype", "float32")),)


def float_type(value: Value) -> dict[str, Plain]:
    """What a Dequantize or AntiQuantize says of its output that stands for a float value: nothing for float32."""
    return {"dtype": value.dtype} if value.dtype == "float16" else {}


QUANT_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="quant.Observe",
        summary="gathers what calibration needs to know of a value",
        inputs=ONE,
        outputs=Arity(0, 0),
        infer=_none,
        effect=True,
        notes="attrs: layers (names joined with the input index), and the settings of the observer",
    ),
    OpDef(
        name="quant.Quantize",
        summary="q = clip(round_half_even(x * (1 / scale)) + offset), stored in 8 or 16 bits",
        inputs=ONE,
        outputs=ONE,
        infer=_same,
        dtypes=_storage,
        notes=(
            "attrs: scale (float32), offset, bits; centered: the output is q - offset held in float32, "
            "for a fake-quant model"
        ),
    ),
    OpDef(
        name="quant.Dequantize",
        summary="y = x * deq_scale, one deq_scale = scale_d * scale_w for each channel or for all",
        inputs=ONE,
        outputs=ONE,
        infer=_same,
        dtypes=_floats,
        notes=(
            "weights: deq_scale float32 [C] or [1]; attrs: axis, that of the channels, 1 where it is left out; "
            "dtype, float32 where it is left out"
        ),
    ),
    OpDef(
        name="quant.AntiQuantize",
        summary="x = (q - offset) * scale",
        inputs=ONE,
        outputs=ONE,
        infer=_same,
        dtypes=_floats,
        notes=(
            "attrs: scale (float32), offset, bits; dtype, float32 where it is left out; "
            "centered: the input is q - offset already"
        ),
    ),
    OpDef(
        name="quant.RetrainData",
        summary="y = (q - offset) * scale, with q as of Quantize and the grid that just holds [clip_min, clip_max]",
        inputs=ONE,
        outputs=ONE,
        infer=_same,
        weight_shapes=_clips,
        notes=(
            "weights: clip_max, clip_min float32 [1]; y = x until clip_max is above clip_min; "
            "attrs: bits, fixed_min (clip_min counts as 0), layer (the readers), record_file, and where training is to "
            "begin with clips that IFMR finds: ifmr_init, batch_num (the batches that it sees)"
        ),
    ),
)
