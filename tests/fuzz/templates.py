"""How to make a legal layer of each type of the op table."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.ir.node import Shape
from tests.fuzz.image_templates import IMAGE_LAYERS
from tests.fuzz.movement_templates import MOVEMENT
from tests.fuzz.pieces import Bench, Piece, Template, along
from tests.fuzz.special_templates import DATA, DETECTION, LOSSES, RECURRENT


def _one(*texts: str) -> Template:
    """A layer of one bottom of any shape."""
    return lambda bench: Piece((bench.blob(),), bench.pick("", *texts))


def _channels(*texts: str) -> Template:
    """A layer of one bottom with channels."""
    return lambda bench: Piece((bench.blob(lambda shape: len(shape) > 1),), bench.pick("", *texts))


def _equal(count: int, *texts: str) -> Template:
    """A layer of several bottoms of one shape."""

    def make(bench: Bench) -> Piece:
        first = bench.blob()
        return Piece((first, *(bench.like(first) for _ in range(count - 1))), bench.pick("", *texts))

    return make


def _inner_product(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0)
    text = f"num_output: {bench.between(1, 5)} axis: {bench.axis(blob.shape)} bias_term: {bench.flag()}"
    return Piece((blob,), f"inner_product_param {{ {text} transpose: {bench.flag()} }}")


def _scaled(parameter: str, more: str = "") -> Template:
    """Scale or Bias: with weights of their own, or with a second bottom."""

    def make(bench: Bench) -> Piece:
        blob = bench.blob(lambda shape: len(shape) > 0)
        axis = bench.between(0, len(blob.shape) - 1)
        if bench.pick(True, True, False):
            return Piece((blob,), f"{parameter} {{ axis: {axis} num_axes: {bench.between(0, 1)} {more} }}")
        factor = bench.blob(lambda shape: shape == blob.shape[axis : axis + len(shape)], blob.shape[axis:])
        return Piece((blob, factor), f"{parameter} {{ axis: {axis} }}")

    return make


def _matmul(parameter: str, flags: tuple[str, str], square: bool = False) -> Template:
    """A product of two blobs, either transposed."""

    def make(bench: Bench) -> Piece:
        first = bench.blob(lambda shape: len(shape) == 2 if square else len(shape) >= 2, (3, 4))
        left, right = bench.flag(), bench.flag()
        rows, columns = first.shape[-2:]
        inner = rows if left == "true" else columns
        lead = first.shape[:-2]

        def fits(shape: Shape) -> bool:
            return len(shape) >= 2 and shape[:-2] == lead and shape[-1 if right == "true" else -2] == inner

        other = (*lead, 2, inner) if right == "true" else (*lead, inner, 2)
        second = bench.blob(fits, other)
        return Piece((first, second), f"{parameter} {{ {flags[0]}: {left} {flags[1]}: {right} }}")

    return make


def _compare(parameter: str) -> Template:
    def make(bench: Bench) -> Piece:
        first = bench.blob()
        if bench.pick(True, False):
            return Piece((first,), f"{parameter} {{ value: 0.5 }}")
        return Piece((first, bench.like(first)))

    return make


def _arg(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 0 and max(shape) > 1)
    axis = bench.pick(*(axis for axis, size in enumerate(blob.shape) if size > 1))
    more = bench.pick("", f"axis: {axis}", f"axis: {axis} top_k: 2", "out_max_val: true")
    return Piece((blob,), f"argmax_param {{ {more} }}")


def _best(parameter: str, more: str) -> Template:
    """Sort or TopK, perhaps with the indices."""

    def make(bench: Bench) -> Piece:
        blob = bench.blob(lambda shape: len(shape) > 0 and shape[-1] > 1)
        return Piece((blob,), bench.pick("", f"{parameter} {{ {more} }}"), bench.pick(1, 2))

    return make


def _group_norm(bench: Bench) -> Piece:
    blob = bench.blob(lambda shape: len(shape) > 1)
    group = bench.pick(*(g for g in (1, 2, blob.shape[1]) if blob.shape[1] % g == 0))
    return Piece((blob,), f"group_norm_param {{ group_num: {group} }}")


_REDUCE = ("reduce_param { axis: -1 }", "reduce_param { axis: 0 keepdims: false }")

TEMPLATES: Mapping[str, Template] = {
    "InnerProduct": _inner_product,
    "BatchNorm": _channels("batch_norm_param { eps: 0.01 }"),
    "Scale": _scaled("scale_param", "bias_term: true"),
    "Bias": _scaled("bias_param"),
    "PReLU": _channels("prelu_param { channel_shared: true }"),
    "ReLU": _one("relu_param { negative_slope: 0.25 }"),
    "Softmax": along("softmax_param"),
    "Eltwise": _equal(
        2,
        "eltwise_param { operation: PROD }",
        "eltwise_param { coeff: 1 coeff: -2 }",
        "eltwise_param { operation: MAX }",
    ),
    "Reduction": along("reduction_param", "operation: ASUM coeff: 0.5"),
    **{f"Reduce{name}": _channels(*_REDUCE) for name in ("Sum", "Mean", "Max", "Min", "Prod")},
    "ArgMax": _arg,
    "ArgMin": _arg,
    "Sort": _best("sort_param", "descending: true"),
    "TopK": _best("topk_param", "k: 2"),
    "GroupNorm": _group_norm,
    "LayerNormalization": _channels("layer_norm_param { affine: false }"),
    "MatMul": _matmul("matmul_param", ("transpose_a", "transpose_b")),
    "BatchedMatMul": _matmul("batch_matmul_param", ("adj_x1", "adj_x2")),
    "Gemm": _matmul("gemm_param", ("alpha: 0.5 transpose_a", "transpose_b"), square=True),
    "CReLU": _channels("crelu_param { concat_axis: -1 }"),
    "Exp": _one("exp_param { base: 2 scale: 0.5 }"),
    "Log": _one("log_param { base: 10 shift: 2 }"),
    "Power": _one("power_param { power: 2 scale: 0.5 shift: 1 }"),
    "ELU": _one("elu_param { alpha: 0.5 }"),
    "Clip": lambda bench: Piece((bench.blob(),), "clip_param { min: -0.5 max: 0.5 }"),
    "Threshold": _one("threshold_param { threshold: 0.25 }"),
    "Swish": _one("swish_param { beta: 2 }"),
    "ReLU6": _one("relu6_param { threshold: 1 }"),
    "Equal": _compare("equal_param"),
    "Greater": _compare("greater_param"),
    **{
        name: _one()
        for name in (
            *("Sigmoid", "TanH", "AbsVal", "BNLL", "Hswish", "HardSwish", "HardSigmoid", "Mish", "RReLU", "Sqrt"),
            *("Ceil", "Sign", "Cos", "Sin", "Erf", "Dropout"),
        )
    },
    **IMAGE_LAYERS,
    **MOVEMENT,
    **RECURRENT,
    **DETECTION,
    **LOSSES,
    **DATA,
}
"""Layer type -> how to make a layer of it."""

IN_PLACE = (
    *("ReLU", "Sigmoid", "TanH", "BatchNorm", "Scale", "Bias", "PReLU", "ELU", "Power", "Dropout", "AbsVal", "Clip"),
    *("Sqrt", "Exp", "Log", "Softmax", "Threshold"),
)
