"""What layers over axes, normalization, products and resampling refuse, and what weights they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import infer_shapes
from amctc.dialects.table import op_def, op_table
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.text.plain import Plain, Symbol
from tests.runtime.nets import add_input

SUMS = ("Reduction", "ReduceSum", "ReduceMean", "ReduceProd", "ArgMax", "ArgMin", "Sort")
NORMS = ("MVN", "Mvm", "Normalize", "GroupNorm", "LayerNormalization")
ON = (*SUMS, *NORMS, "MatMul", "Gemm", "SPP", "Interp")
OFF = ("ReduceMax", "ReduceMin", "TopK")
NEVER = ("BatchedMatMul", "Im2col", "BilinearInterpolate", "Resize")
IMAGE = ((2, 3, 4, 5),)


def _layer(kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Any]) -> Node:
    graph = Graph("net")
    values = [add_input(graph, shape, f"in{index}").output for index, shape in enumerate(shapes)]
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in parameter.items()}
    return graph.add("layer", f"caffe.{kind}", values, ["out"], attrs=attrs)


def _inferred(kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Any]) -> Shape:
    node = _layer(kind, shapes, parameter)
    return infer_shapes(node.graph)[node.output]


def test_the_defaults_of_quantization_are_the_manuals() -> None:
    rows = op_table()
    for names, expected in ((ON, True), (OFF, False), (NEVER, None)):
        for name in names:
            quantizable = rows[f"caffe.{name}"].quantizable
            assert (quantizable.on_by_default if quantizable is not None else None) is expected, name
            assert quantizable is None or not quantizable.weights, name


def test_both_factors_of_a_product_are_quantized_and_no_summand() -> None:
    product = _layer("MatMul", [(2, 3), (3, 4)], {})
    gemm = _layer("Gemm", [(2, 3), (3, 4), (4,)], {})
    assert op_def(product).data_inputs(product) == (0, 1)
    assert op_def(gemm).data_inputs(gemm) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "parameter", "expected"),
    [
        ("Normalize", {}, {"scale": ()}),
        ("Normalize", {"norm_param": {"channel_shared": False}}, {"scale": (3,)}),
        ("GroupNorm", {"group_norm_param": {"group_num": 3}}, {"scale": (3,), "shift": (3,)}),
        ("LayerNormalization", {}, {"scale": (5,), "shift": (5,)}),
        ("LayerNormalization", {"layer_norm_param": {"axis": 2}}, {"scale": (4, 5), "shift": (4, 5)}),
        ("LayerNormalization", {"layer_norm_param": {"affine": False}}, {}),
        ("MVN", {}, {}),
    ],
)
def test_the_weights_have_the_shapes_of_what_they_scale(
    kind: str, parameter: Mapping[str, Any], expected: Mapping[str, Shape]
) -> None:
    node = _layer(kind, IMAGE, parameter)
    assert dict(op_def(node).weight_shapes(node, IMAGE)) == expected


@pytest.mark.parametrize(
    ("kind", "shapes", "parameter", "expected"),
    [
        ("ArgMax", [(7,)], {}, (7, 1, 1)),
        ("ArgMax", [(2, 3, 4, 5, 6)], {"argmax_param": {"top_k": 4}}, (2, 1, 4, 1, 1)),
        ("MVN", [(2, 3)], {}, (2, 3, 1, 1)),
        ("ReduceSum", [()], {}, ()),
        ("Interp", IMAGE, {"interp_param": {"shrink_factor": 3}}, (2, 3, 2, 2)),
        ("BilinearInterpolate", IMAGE, {"bilinear_interpolate_param": {"scale_factor": 1.3}}, (2, 3, 5, 6)),
        ("MatMul", [(1, 2, 3, 4), (7, 1, 4, 5)], {}, (7, 2, 3, 5)),
    ],
)
def test_the_output_has_the_shape_that_the_layer_defines(
    kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Any], expected: Shape
) -> None:
    assert _inferred(kind, shapes, parameter) == expected


REFUSED: list[tuple[str, Sequence[Shape], Mapping[str, Any], str]] = [
    ("Reduction", IMAGE, {"reduction_param": {"axis": 4}}, "`axis` 4 is outside a blob of 4 axes"),
    ("Reduction", [()], {}, "`axis` 0 is outside a blob of 0 axes"),
    ("ReduceSum", IMAGE, {"reduce_param": {"axis": (1, -3)}}, "`axis` -3 is given twice"),
    ("ReduceMax", [(2, 0)], {"reduce_param": {"axis": (1,)}}, "an empty axis has no extreme"),
    ("ArgMax", IMAGE, {"argmax_param": {"top_k": 0}}, "`top_k` must be positive"),
    ("ArgMax", IMAGE, {"argmax_param": {"top_k": 61}}, "`top_k` 61 is more than the 60 elements of an item"),
    ("ArgMin", IMAGE, {"argmax_param": {"top_k": 4, "axis": 1}}, "`top_k` 4 is more than the 3 elements along axis 1"),
    ("ArgMax", [(0, 0)], {}, "`top_k` 1 is more than the 0"),
    ("TopK", IMAGE, {"topk_param": {"k": 2**32 - 1}}, "`k` 4294967295 is more than the 5"),
    ("Sort", IMAGE, {"sort_param": {"axis": -5}}, "`axis` -5 is outside"),
    ("MVN", [(1, 2, 3, 4, 5)], {}, "4 axes at most"),
    ("Normalize", [(3,)], {}, "2 to 4 axes"),
    ("GroupNorm", IMAGE, {}, "`group_num` 32 does not divide the 3 channels"),
    ("GroupNorm", IMAGE, {"group_norm_param": {"group_num": 0}}, "`group_num` must be positive"),
    ("LayerNormalization", IMAGE, {"layer_norm_param": {"axis": 4}}, "`axis` 4 is outside"),
    ("MatMul", [(2, 3), (2, 3)], {}, "inner sizes of the product differ: 2x3 times 2x3"),
    ("MatMul", [(3,), (3, 2)], {}, "two axes or more, input 0 is 3"),
    ("MatMul", [(2, 3, 4), (3, 4, 5)], {}, "axes before the matrices do not fit: 2 and 3"),
    ("MatMul", [(2, 3), (3, 2)], {"matmul_param": {}, "batch_matmul_param": {}}, "both given; keep one"),
    ("Gemm", [(1, 2, 3), (3, 2)], {}, "input 0 is 1x2x3"),
    ("Gemm", [(2, 3), (3, 4), (2,)], {}, "third input 2 does not fit the product 2x4"),
    ("SPP", [(2, 3, 4)], {"spp_param": {"pyramid_height": 1}}, "a blob of 4 axes"),
    ("SPP", IMAGE, {}, "`pyramid_height` must be given and positive"),
    (
        "SPP",
        IMAGE,
        {"spp_param": {"pyramid_height": 4}},
        "level 2 of the pyramid has bins of 1x2 with a padding of 0x2",
    ),
    ("SPP", IMAGE, {"spp_param": {"pyramid_height": 2**32 - 1}}, "too much for an image of 4x5"),
    ("SPP", [(2, 3, 0, 5)], {"spp_param": {"pyramid_height": 1}}, "must have elements"),
    ("SPP", IMAGE, {"spp_param": {"pyramid_height": 1, "pool": Symbol("STOCHASTIC")}}, "use MAX or AVE"),
    ("Im2col", IMAGE, {}, "`kernel_size` is missing"),
    ("Im2col", IMAGE, {"convolution_param": {"kernel_size": (2, 2, 2)}}, "given 3 times"),
    ("Im2col", IMAGE, {"convolution_param": {"kernel_size": (2,), "kernel_h": 2}}, "keep one of the two forms"),
    ("Im2col", IMAGE, {"convolution_param": {"kernel_size": (5,)}}, "covers 5 does not fit an axis of 4"),
    ("Im2col", IMAGE, {"convolution_param": {"kernel_size": (1,), "stride": (0,)}}, "`stride` must be positive"),
    ("Im2col", [(2, 3)], {"convolution_param": {"kernel_size": (1,)}}, "at least one axis behind"),
    ("Interp", IMAGE, {}, "missing or given twice"),
    ("Interp", IMAGE, {"interp_param": {"height": 3}}, "must be given together"),
    ("Interp", IMAGE, {"interp_param": {"height": 3, "width": 3, "zoom_factor": 2}}, "missing or given twice"),
    ("Interp", IMAGE, {"interp_param": {"zoom_factor": 0}}, "must be positive"),
    ("Interp", IMAGE, {"interp_param": {"zoom_factor": 2, "pad_beg": 1}}, "only crop"),
    ("Interp", IMAGE, {"interp_param": {"zoom_factor": 2, "pad_end": -4}}, "nothing is left of an image"),
    ("Interp", IMAGE, {"interp_param": {"height": -1, "width": 3}}, "the output would have the size -1x3"),
    ("Interp", IMAGE, {"interp_param": {"zoom_factor": 2**31 - 1}}, "more than the 2147483647"),
    ("BilinearInterpolate", IMAGE, {"bilinear_interpolate_param": {"dst_h": 3}}, "must be given together"),
    ("BilinearInterpolate", IMAGE, {"bilinear_interpolate_param": {"scale_factor": -1.0}}, "no usable size"),
    ("BilinearInterpolate", IMAGE, {"bilinear_interpolate_param": {"scale_factor": float("nan")}}, "no usable size"),
    ("Resize", IMAGE, {"resize_param": {"height": 3}}, "`height` and `width` must be given"),
    ("Resize", IMAGE, {"resize_param": {"is_pyramid_test": True}}, "`out_height_scale` 0 gives no usable size"),
]


@pytest.mark.parametrize(("kind", "shapes", "parameter", "message"), REFUSED)
def test_wrong_parameters_are_told(
    kind: str, shapes: Sequence[Shape], parameter: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(DiagnosticError) as caught:
        _inferred(kind, shapes, parameter)
    [found] = caught.value.diagnostics
    assert found.code == "AM320"
    assert message in found.message
