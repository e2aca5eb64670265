"""Products of blobs and what is built of windows: MatMul, Gemm, SPP, Im2col; and resampling."""

from __future__ import annotations

import math

from amctc.dialects.caffe.blobs import describe
from amctc.dialects.caffe.params import params
from amctc.dialects.caffe.pyramid import pyramid_levels
from amctc.dialects.caffe.resample import RESAMPLE_OPS
from amctc.dialects.caffe.spatial import windows_of
from amctc.dialects.op import ONE, Arity, OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.ir.node import Shape

_ON = Quantizable(on_by_default=True)
_TWO = Arity(2, 2)
_FACTORS = Quantizable(on_by_default=True, data_inputs=lambda node: (0, 1))


def transposed_factors(node: Node) -> tuple[bool, bool]:
    """Whether each factor of a MatMul is transposed, from `matmul_param` or ATC's `batch_matmul_param`."""
    if "batch_matmul_param" not in node.attrs:
        param = params(node, "matmul_param")
        return bool(param.transpose_a), bool(param.transpose_b)
    if "matmul_param" in node.attrs:
        raise OpError("`matmul_param` and `batch_matmul_param` are both given; keep one")
    param = params(node, "batch_matmul_param")
    return bool(param.adj_x1), bool(param.adj_x2)


def _infer_matmul(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    for index, shape in enumerate(shapes):
        if len(shape) < 2:
            raise OpError(f"takes blobs of two axes or more, input {index} is {describe(shape)}")
    rows, columns = _product(shapes, transposed_factors(node))
    return ((*_broadcast(shapes[0][:-2], shapes[1][:-2]), rows, columns),)


def _product(shapes: tuple[Shape, ...], transposed: tuple[bool, bool]) -> tuple[int, int]:
    """The two last sizes of the product of matrices."""
    a, b = (shape[-2:][::-1] if flag else shape[-2:] for shape, flag in zip(shapes[:2], transposed, strict=True))
    if a[1] != b[0]:
        raise OpError(f"the inner sizes of the product differ: {a[0]}x{a[1]} times {b[0]}x{b[1]}")
    return a[0], b[1]


def _broadcast(a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    pairs = zip((*(1,) * (rank - len(a)), *a), (*(1,) * (rank - len(b)), *b), strict=True)
    found: list[int] = []
    for left, right in pairs:
        if left != right and 1 not in (left, right):
            raise OpError(f"the axes before the matrices do not fit: {describe(a)} and {describe(b)}")
        found.append(right if left == 1 else left)
    return tuple(found)


def _infer_gemm(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    for index, shape in enumerate(shapes[:2]):
        if len(shape) != 2:
            raise OpError(f"takes matrices, blobs of two axes; input {index} is {describe(shape)}")
    param = params(node, "gemm_param")
    product = _product(shapes, (bool(param.transpose_a), bool(param.transpose_b)))
    if len(shapes) > 2:
        summand = shapes[2]
        spread = (*(1,) * (2 - len(summand)), *summand)
        if len(spread) > 2 or any(size not in (1, whole) for size, whole in zip(spread, product, strict=True)):
            raise OpError(f"the third input {describe(summand)} does not fit the product {describe(product)}")
    return (product,)


def _infer_spp(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    levels = pyramid_levels(node, shapes[0])
    count, channels = shapes[0][:2]
    if len(levels) == 1:
        return ((count, channels, *levels[0].out),)
    return ((count, channels * sum(math.prod(level.out) for level in levels)),)


def _infer_im2col(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    shape = shapes[0]
    windows = windows_of(params(node, "convolution_param"), shape)
    columns = shape[windows.axis] * math.prod(windows.kernel)
    return ((*shape[: windows.axis], columns, *windows.counts(shape)),)


MATRIX_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.MatMul",
        summary="the product of the matrices in the last two axes of two blobs, either one transposed if wanted",
        inputs=_TWO,
        outputs=ONE,
        infer=_infer_matmul,
        parameter="matmul_param",
        quantizable=_ON,
        notes=(
            "not a layer of BVLC Caffe; the axes before the matrices must be equal or 1; ATC's `batch_matmul_param` "
            "is read in place of `matmul_param`"
        ),
    ),
    OpDef(
        name="caffe.BatchedMatMul",
        summary="MatMul as ATC calls it, with `adj_x1` and `adj_x2`",
        inputs=_TWO,
        outputs=ONE,
        infer=_infer_matmul,
        parameter="batch_matmul_param",
        notes="not in AMCT's table of layers, so it is not quantized; write it as MatMul to have it quantized",
    ),
    OpDef(
        name="caffe.Gemm",
        summary="y = alpha * a * b (+ beta * c), the matrices a and b transposed if wanted",
        inputs=Arity(2, 3),
        outputs=ONE,
        infer=_infer_gemm,
        parameter="gemm_param",
        quantizable=_FACTORS,
        notes="not a layer of BVLC Caffe; c is broadcast to the product, and is not quantized",
    ),
    OpDef(
        name="caffe.SPP",
        summary="spatial pyramid pooling: level i pools into 2**i bins an axis, and all levels are joined",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_spp,
        parameter="spp_param",
        quantizable=_ON,
        notes="one level alone is not flattened: (N, C, 1, 1); a level whose padding reaches its bin is refused",
    ),
    OpDef(
        name="caffe.Im2col",
        summary="the elements under each filter's window as channels, [C * k...] of them",
        inputs=ONE,
        outputs=ONE,
        infer=_infer_im2col,
        parameter="convolution_param",
        notes="reads the windows of `convolution_param`, not `num_output` and `group`",
    ),
    *RESAMPLE_OPS,
)
