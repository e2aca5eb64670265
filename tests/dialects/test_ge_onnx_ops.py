"""Rows of GE's ops that are like ONNX's: numpy says what they give, in both layouts; traits, and what cannot be run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.ge.slots import note
from amctc.dialects.shapes import annotate_shapes
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.runtime.executor import Executor
from amctc.text.plain import Plain
from tests.ge_files import channels_last

Attrs = Mapping[str, Plain]
Weights = Mapping[str, NDArray[Any]]

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 4, 6, 8)).astype(np.float32)
MATRIX = RNG.normal(size=(3, 5)).astype(np.float32)
POSITIVE = np.abs(IMAGE) + np.float32(0.1)


def one_op(
    type: str, x: NDArray[Any], attrs: Attrs | None = None, weights: Weights | None = None, outputs: int = 1
) -> Graph:
    """A graph of one op that reads `x`."""
    graph = Graph("net")
    made = graph.add("x", "ge.Data", (), ["x"])
    note(made, shape=x.shape, dtype=x.dtype.name)
    names = ["out", *(f"out:{number}" for number in range(1, outputs))]
    op = graph.add("out", f"ge.{type}", [made.output], names, attrs=attrs or {}, weights=weights or {})
    graph.outputs = list(op.outputs)
    return graph


def run(graph: Graph, x: NDArray[Any], count: int | None = None) -> list[NDArray[Any]]:
    """The outputs, of the shapes and element types that the rows say."""
    annotate_shapes(graph)
    values = graph.outputs[:count]
    found = Executor(graph, fetch=values, finite=False).run({"x": x})
    for value in values:
        assert (found[value].shape, found[value].dtype.name) == (value.shape, value.dtype)
    return [found[value] for value in values]


def longs(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


# -- what numpy says -----------------------------------------------------------------------------------------------

FLOAT = np.float32
CASES: Mapping[str, tuple[NDArray[Any], Attrs, Weights, Sequence[NDArray[Any]]]] = {
    "Sqrt": (POSITIVE, {}, {}, [np.sqrt(POSITIVE)]),
    "Rsqrt": (POSITIVE, {}, {}, [1 / np.sqrt(POSITIVE)]),
    "Reciprocal": (POSITIVE, {}, {}, [1 / POSITIVE]),
    "Square": (IMAGE, {}, {}, [IMAGE * IMAGE]),
    "Neg": (IMAGE, {}, {}, [-IMAGE]),
    "Floor": (IMAGE, {}, {}, [np.floor(IMAGE)]),
    "Ceil": (IMAGE, {}, {}, [np.ceil(IMAGE)]),
    "Round": (IMAGE, {}, {}, [np.rint(IMAGE)]),
    "Rint": (IMAGE, {}, {}, [np.rint(IMAGE)]),
    "Sign": (IMAGE, {}, {}, [np.sign(IMAGE)]),
    "Cos": (IMAGE, {}, {}, [np.cos(IMAGE)]),
    "Sin": (IMAGE, {}, {}, [np.sin(IMAGE)]),
    "Erf": (MATRIX, {}, {}, [np.vectorize(math.erf)(MATRIX).astype(FLOAT)]),
    "Softplus": (IMAGE, {}, {}, [np.log1p(np.exp(IMAGE))]),
    "Softsign": (IMAGE, {}, {}, [IMAGE / (1 + np.abs(IMAGE))]),
    "Gelu": (IMAGE, {}, {}, [IMAGE / 2 * (1 + np.tanh(FLOAT(np.sqrt(2 / np.pi)) * (IMAGE + 0.044715 * IMAGE**3)))]),
    "HardSigmoid": (IMAGE, {"alpha": 0.25}, {}, [np.clip(0.25 * IMAGE + 0.5, 0, 1)]),
    "ClipByValue": (
        IMAGE,
        {},
        {"clip_value_min": np.array([-0.5], FLOAT), "clip_value_max": np.array(0.25, FLOAT)},
        [np.clip(IMAGE, -0.5, 0.25)],
    ),
    "LogSoftmaxV2": (MATRIX, {}, {}, [MATRIX - np.log(np.exp(MATRIX).sum(axis=1, keepdims=True))]),
    "Cast": (IMAGE, {"dst_type": 3}, {}, [IMAGE.astype(np.int32)]),
    "Identity": (IMAGE, {}, {}, [IMAGE]),
    "Add": (IMAGE, {}, {"x2": IMAGE[0]}, [IMAGE + IMAGE[0]]),
    "Sub": (IMAGE, {}, {"x1": IMAGE[:1]}, [IMAGE[:1] - IMAGE]),
    "RealDiv": (IMAGE, {}, {"x2": POSITIVE}, [IMAGE / POSITIVE]),
    "Div": (longs(7, -7, 8), {}, {"x2": longs(2, 2, 3)}, [longs(3, -3, 2)]),
    "Maximum": (IMAGE, {}, {"x2": IMAGE[:1]}, [np.maximum(IMAGE, IMAGE[:1])]),
    "Minimum": (IMAGE, {}, {"x2": IMAGE[:1]}, [np.minimum(IMAGE, IMAGE[:1])]),
    "Pow": (POSITIVE, {}, {"x2": np.array(1.5, FLOAT)}, [POSITIVE**1.5]),
    "Equal": (longs(1, 2, 3), {}, {"x2": longs(1, 0, 3)}, [np.array([True, False, True])]),
    "Greater": (IMAGE, {}, {"x2": np.array(0, FLOAT)}, [IMAGE > 0]),
    "Less": (IMAGE, {}, {"x2": np.array(0, FLOAT)}, [IMAGE < 0]),
    "LogicalNot": (np.array([True, False]), {}, {}, [np.array([False, True])]),
    "BiasAdd": (IMAGE, {}, {"bias": np.arange(4, dtype=FLOAT)}, [IMAGE + np.arange(4, dtype=FLOAT).reshape(4, 1, 1)]),
    "ConcatD": (IMAGE, {"concat_dim": 1}, {"x1": IMAGE[:, :1]}, [np.concatenate([IMAGE, IMAGE[:, :1]], 1)]),
    "ConcatV2D": (IMAGE, {"concat_dim": -1}, {"x0": IMAGE}, [np.concatenate([IMAGE, IMAGE], -1)]),
    "Concat": (MATRIX, {}, {"concat_dim": longs(0), "x1": MATRIX}, [np.concatenate([MATRIX, MATRIX], 0)]),
    "SplitD": (IMAGE, {"split_dim": 1, "num_split": 2}, {}, np.split(IMAGE, 2, 1)),
    "Split": (IMAGE, {"num_split": 3}, {"split_dim": np.array(2, np.int32)}, np.split(IMAGE, 3, 2)),
    "SplitV": (
        IMAGE,
        {"num_split": 2},
        {"size_splits": longs(1, 3), "split_dim": np.array(1, np.int32)},
        np.split(IMAGE, [1], 1),
    ),
    "SliceD": (MATRIX, {"offsets": (1, 2), "size": (2, -1)}, {}, [MATRIX[1:, 2:]]),
    "Slice": (MATRIX, {}, {"offsets": longs(0, 1), "size": longs(-1, 3)}, [MATRIX[:, 1:4]]),
    "StridedSliceD": (MATRIX, {"begin": (0, 4), "end": (3, 0), "strides": (2, -2)}, {}, [MATRIX[::2, 4:0:-2]]),
    "StridedSlice": (
        MATRIX,
        {},
        {"begin": longs(1, 0), "end": longs(3, -1), "strides": longs(1, 2)},
        [MATRIX[1:3, 0:-1:2]],
    ),
    "StridedSliceV2": (
        MATRIX,
        {},
        {"begin": longs(1), "end": longs(5), "axes": longs(1), "strides": longs(3)},
        [MATRIX[:, 1:5:3]],
    ),
    "Transpose": (IMAGE, {}, {"perm": longs(0, 2, 3, 1)}, [IMAGE.transpose(0, 2, 3, 1)]),
    "TransposeD": (IMAGE, {"perm": (3, 1, 0, 2)}, {}, [IMAGE.transpose(3, 1, 0, 2)]),
    "Squeeze": (IMAGE[:1, :, :1], {"axis": (0,)}, {}, [IMAGE[0, :, :1]]),
    "Unsqueeze": (MATRIX, {"axes": (0, 2)}, {}, [MATRIX[None, :, None]]),
    "ExpandDims": (MATRIX, {}, {"axis": np.array(1, np.int32)}, [MATRIX[:, None]]),
    "Shape": (IMAGE, {}, {}, [np.array([2, 4, 6, 8], np.int32)]),
    "Gather": (MATRIX, {}, {"indices": longs(2, 0)}, [MATRIX[[2, 0]]]),
    "GatherV2": (MATRIX, {}, {"indices": longs(4, 4), "axis": longs(1)}, [MATRIX[:, [4, 4]]]),
    "GatherV2D": (MATRIX, {"axis": 1}, {"indices": np.array(3, np.int32)}, [MATRIX[:, 3]]),
    "Expand": (MATRIX, {}, {"shape": longs(2, 1, 5)}, [np.broadcast_to(MATRIX, (2, 3, 5))]),
    "Tile": (MATRIX, {}, {"multiples": longs(2, 1)}, [np.tile(MATRIX, (2, 1))]),
    "TileD": (MATRIX, {"multiples": (1, 3)}, {}, [np.tile(MATRIX, (1, 3))]),
    "Pad": (MATRIX, {}, {"paddings": np.array([[1, 0], [2, 3]], np.int32)}, [np.pad(MATRIX, ((1, 0), (2, 3)))]),
    "PadD": (
        MATRIX,
        {"paddings": {"list_list_int": {"list_list_i": ({"list_i": (1, 0)}, {"list_i": (0, 2)})}}},
        {},
        [np.pad(MATRIX, ((1, 0), (0, 2)))],
    ),
    "PadV3": (
        MATRIX,
        {"mode": "reflect", "paddings_contiguous": False},
        {"paddings": longs(1, 2, 0, 3)},
        [np.pad(MATRIX, ((1, 0), (2, 3)), "reflect")],
    ),
    "ReduceMean": (IMAGE, {}, {"axes": longs(2, 3)}, [IMAGE.mean(axis=(2, 3))]),
    "ReduceMeanD": (IMAGE, {"axes": (), "keep_dims": True}, {}, [IMAGE.mean(keepdims=True)]),
    "ReduceSum": (IMAGE, {"keep_dims": True}, {"axes": longs(1)}, [IMAGE.sum(axis=1, keepdims=True)]),
    "ReduceMaxD": (IMAGE, {"axes": (-1,)}, {}, [IMAGE.max(axis=-1)]),
    "ReduceMin": (IMAGE, {}, {"axes": longs()}, [IMAGE]),
    "ReduceProdD": (MATRIX, {"axes": (1,)}, {}, [MATRIX.prod(axis=1)]),
    "ArgMaxV2": (MATRIX, {}, {"dimension": np.array(1, np.int32)}, [MATRIX.argmax(axis=1)]),
    "ArgMaxD": (MATRIX, {"dimension": 0}, {}, [MATRIX.argmax(axis=0).astype(np.int32)]),
    "TopK": (
        MATRIX,
        {},
        {"k": np.array(2, np.int32)},
        [-np.sort(-MATRIX, axis=1)[:, :2], np.argsort(-MATRIX, axis=1)[:, :2].astype(np.int32)],
    ),
    "Sort": (
        MATRIX,
        {"axis": 0},
        {},
        [np.sort(MATRIX, axis=0), np.argsort(MATRIX, axis=0).astype(np.int32)],
    ),
    "LayerNorm": (
        MATRIX,
        {"begin_norm_axis": 1, "begin_params_axis": 1, "epsilon": 1e-5},
        {"gamma": np.ones(5, FLOAT), "beta": np.zeros(5, FLOAT)},
        [(MATRIX - MATRIX.mean(1, keepdims=True)) / np.sqrt(MATRIX.var(1, keepdims=True) + FLOAT(1e-5))],
    ),
}


@pytest.mark.parametrize("type", CASES)
def test_an_op_gives_what_numpy_says(type: str) -> None:
    x, attrs, weights, wanted = CASES[type]
    for found, array in zip(run(one_op(type, x, attrs, weights, len(wanted)), x), wanted, strict=True):
        assert found.dtype == array.dtype
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found, array, rtol=2e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(found, array)


# -- images in both layouts ----------------------------------------------------------------------------------------

STATISTICS = {
    "scale": np.array([0.5, 1, -1, 2], FLOAT),
    "offset": np.arange(4, dtype=FLOAT),
    "mean": np.array([0, 1, 0.5, -1], FLOAT),
    "variance": np.array([1, 2, 0.5, 4], FLOAT),
}
AFFINE = {"gamma": STATISTICS["scale"], "beta": STATISTICS["offset"]}
WINDOW: Attrs = {"ksize": (1, 1, 3, 2), "strides": (1, 1, 2, 1)}
FOUR = ("ksize", "strides", "dilations", "output_padding")
IMAGES: Mapping[str, tuple[str, Attrs, Weights]] = {
    "MaxPool of SAME": ("MaxPool", {**WINDOW, "padding": "SAME"}, {}),
    "MaxPool of VALID": ("MaxPool", {**WINDOW, "padding": "VALID"}, {}),
    "MaxPoolV3": ("MaxPoolV3", {**WINDOW, "pads": (1, 0, 1, 0), "ceil_mode": True}, {}),
    "MaxPoolV3 of all": ("MaxPoolV3", {**WINDOW, "global_pooling": True}, {}),
    "AvgPool": ("AvgPool", {**WINDOW, "padding": "SAME"}, {}),
    "AvgPool of all": ("AvgPool", {"ksize": (1, 1, -1, -1), "strides": (1, 1, 1, 1), "padding": "VALID"}, {}),
    "AvgPoolV2": ("AvgPoolV2", {**WINDOW, "pads": (1, 1, 1, 0), "exclusive": False}, {}),
    "AvgPoolV2 of all": ("AvgPoolV2", {**WINDOW, "global_pooling": True}, {}),
    "GlobalAveragePool": ("GlobalAveragePool", {}, {}),
    "BNInfer": ("BNInfer", {"epsilon": 1e-3}, STATISTICS),
    "BatchNorm": ("BatchNorm", {"epsilon": 1e-3, "is_training": False}, STATISTICS),
    "InstanceNorm": ("InstanceNorm", {"epsilon": 1e-3}, AFFINE),
    "BiasAdd": ("BiasAdd", {}, {"bias": STATISTICS["scale"]}),
    "DepthToSpace": ("DepthToSpace", {"block_size": 2}, {}),
    "DepthToSpace CRD": ("DepthToSpace", {"block_size": 2, "mode": "CRD"}, {}),
    "SpaceToDepth": ("SpaceToDepth", {"block_size": 2}, {}),
    "ResizeBilinearV2": ("ResizeBilinearV2", {"half_pixel_centers": True}, {"size": np.array([9, 5], np.int32)}),
    "ResizeNearest": ("ResizeNearestNeighborV2", {"align_corners": True}, {"size": np.array([4, 16], np.int32)}),
    "ResizeNearest D": ("ResizeNearestNeighborV2D", {"size": (12, 4)}, {}),
    "Conv2DTranspose": (
        "Conv2DTranspose",
        {"strides": (1, 1, 2, 2), "pads": (1, 1, 0, 0), "output_padding": (0, 0, 1, 1)},
        {
            "weight": RNG.normal(size=(4, 3, 3, 3)).astype(FLOAT),
            "bias": np.arange(3, dtype=FLOAT),
            "input_size": longs(0, 0, 0, 0),
        },
    ),
}
STATED_OUTPUTS = {"BatchNorm": 6, "InstanceNorm": 3}
"""Ops with outputs that only GE declares: their shapes are known, and nothing computes them."""


@pytest.mark.parametrize("name", IMAGES)
def test_an_op_on_images_is_the_same_with_the_channels_last(name: str) -> None:
    type, attrs, weights = IMAGES[name]
    count = STATED_OUTPUTS.get(type, 1)
    (wanted,) = run(one_op(type, IMAGE, attrs, weights, count), IMAGE, 1)
    last = {key: _last(value) if key in FOUR and isinstance(value, tuple) else value for key, value in attrs.items()}
    x = channels_last(IMAGE)
    graph = one_op(type, x, last, weights, count)
    note(graph.node("out"), format="NHWC")
    (found,) = run(graph, x, 1)
    np.testing.assert_array_equal(found, channels_last(wanted))
    shapes = [value.shape for value in graph.outputs[1:]]
    assert shapes == {"BatchNorm": [(4,)] * 5, "InstanceNorm": [(2, 1, 1, 4)] * 2}.get(type, [])


def _last(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    return (numbers[0], *numbers[2:], numbers[1]) if len(numbers) == 4 else numbers


def test_poolings_and_norms_give_what_numpy_says() -> None:
    windows = np.lib.stride_tricks.sliding_window_view(IMAGE, (3, 2), (2, 3))[:, :, ::2]
    attrs = {**WINDOW, "padding_mode": "VALID"}
    np.testing.assert_array_equal(run(one_op("MaxPoolV3", IMAGE, attrs), IMAGE)[0], windows.max((4, 5)))
    np.testing.assert_allclose(run(one_op("AvgPoolV2", IMAGE, attrs), IMAGE)[0], windows.mean((4, 5)), atol=1e-6)
    scale, offset, mean, variance = (array.reshape(4, 1, 1) for array in STATISTICS.values())
    wanted = (IMAGE - mean) / np.sqrt(variance + 1e-3) * scale + offset
    (found,) = run(one_op("BNInfer", IMAGE, {"epsilon": 1e-3}, STATISTICS), IMAGE)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# -- traits --------------------------------------------------------------------------------------------------------


def node_of(type: str, attrs: Attrs | None = None, weights: Weights | None = None, *, twice: bool = False) -> Node:
    graph = one_op(type, IMAGE, attrs, weights)
    if twice:
        x = graph.node("x").output
        graph.outputs = []
        graph.remove(graph.node("out"))
        graph.outputs = [graph.add("out", f"ge.{type}", [x, x]).output]
    annotate_shapes(graph)
    return graph.node("out")


def by_default(node: Node) -> bool | None:
    found = op_def(node).quantizable
    return None if found is None else found.on_by_default


def test_means_of_windows_are_quantized_by_default_and_maxima_and_sums_on_request() -> None:
    padded: Attrs = {**WINDOW, "padding": "SAME"}
    assert by_default(node_of("AvgPoolV2", WINDOW)) is True
    assert by_default(node_of("AvgPool", padded)) is True
    assert by_default(node_of("AvgPoolV2", {**WINDOW, "global_pooling": True})) is None
    assert by_default(node_of("GlobalAveragePool")) is None
    assert by_default(node_of("MaxPoolV3", WINDOW)) is False
    assert by_default(node_of("MaxPool", padded)) is False
    assert by_default(node_of("Add", twice=True)) is False
    assert by_default(node_of("Add", weights={"x2": IMAGE})) is None


def test_products_with_one_matrix_are_linear_and_others_are_not() -> None:
    matrix = np.zeros((8, 3), FLOAT)
    assert by_default(node_of("BatchMatMulV2", weights={"weight": matrix})) is True
    assert op_def(node_of("BatchMatMulV2", weights={"weight": matrix})).linear is not None
    assert op_def(node_of("BatchMatMulV2", weights={"weight": np.zeros((4, 8, 3), FLOAT)})).linear is None
    assert op_def(node_of("BatchMatMulV2", weights={"x1": np.zeros((3, 6), FLOAT)})).linear is None
    filter: Weights = {"weight": np.zeros((4, 4, 3, 3), FLOAT), "input_size": longs(0, 0, 0, 0)}
    attrs: Attrs = {"strides": (1, 1, 1, 1), "pads": (0, 0, 0, 0)}
    assert by_default(node_of("Conv2DTranspose", attrs, filter)) is True
    assert by_default(node_of("Conv2DTranspose", {**attrs, "dilations": (1, 1, 2, 2)}, filter)) is None


def test_rows_say_what_moves_elements_and_what_clamps() -> None:
    transposed = node_of("Transpose", weights={"perm": longs(0, 2, 3, 1)})
    permuting = op_def(transposed).permuting
    assert permuting is not None
    assert permuting.order(transposed, 4) == (0, 2, 3, 1)
    permuting.become(transposed, (3, 2, 1, 0))
    assert (transposed.type, transposed.attrs["perm"], transposed.weights) == ("TransposeD", (3, 2, 1, 0), {})
    unsqueezed = node_of("Unsqueeze", {"axes": (0,)})
    reshaping = op_def(unsqueezed).reshaping
    assert reshaping is not None
    reshaping.become(unsqueezed, (0, -1))
    assert (unsqueezed.type, unsqueezed.weights["shape"].tolist()) == ("Reshape", [0, -1])
    clip = node_of("ClipByValue", weights={"clip_value_min": np.zeros(1, FLOAT), "clip_value_max": np.ones(1, FLOAT)})
    assert op_def(clip).clamps(clip) == (0.0, 1.0)
    bounded = op_def(clip).bounded
    assert bounded is not None
    assert bounded.bound(clip) == 1.0
    bounded.become(clip)
    assert (clip.type, clip.weights) == ("Relu", {})
    assert op_def(node_of("Identity")).identity
    concat = node_of("ConcatV2D", {"concat_dim": 0}, {"x1": IMAGE})
    assert not op_def(concat).moves_data
    assert op_def(node_of("SpaceToDepth", {"block_size": 2})).moves_data


def test_a_batch_norm_is_a_map_of_each_channel() -> None:
    node = node_of("BNInfer", {"epsilon": 0.0}, STATISTICS)
    trait = op_def(node).affine
    assert trait is not None
    found = trait.coefficients(node, 4)
    assert not isinstance(found, str)
    a = STATISTICS["scale"] / np.sqrt(STATISTICS["variance"])
    np.testing.assert_allclose(found[0], a, rtol=1e-6)
    np.testing.assert_allclose(found[1], STATISTICS["offset"] - STATISTICS["mean"] * a, rtol=1e-6)


# -- what cannot be run, and what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "attrs", "weights", "words"),
    [
        ("StridedSlice", {"begin_mask": 1}, {"begin": longs(0), "end": longs(1), "strides": longs(1)}, "masks"),
        ("GatherV2", {"batch_dims": 1}, {"indices": longs(0), "axis": longs(1)}, "`batch_dims`"),
        ("AvgPoolV2", {**WINDOW, "divisor_override": 3}, {}, "`divisor_override`"),
        ("MaxPoolV3", {**WINDOW, "ksize": (1, 2, 2, 2)}, {}, "samples or channels"),
        ("MaxPoolV3", {**WINDOW, "padding_mode": "HALF"}, {}, "the padding `HALF`"),
        ("BatchNorm", {"epsilon": 0.1}, STATISTICS, "statistics of the batch"),
        ("BNInfer", {"epsilon": 0.1}, {}, "needs a constant `scale`"),
        ("LayerNorm", {"begin_norm_axis": 1}, {"gamma": IMAGE, "beta": IMAGE}, "another axis than the mean"),
        ("SplitD", {"split_dim": 1, "num_split": 2}, {}, "1 outputs"),
        ("SliceD", {"offsets": (0,), "size": (1, 1)}, {}, "1 offsets, and 2 sizes"),
        ("SliceD", {"offsets": (-1,), "size": (1,)}, {}, "negative offset"),
        ("ResizeBilinearV2", {}, {"size": np.array([0, 4], np.int32)}, "a height and a width"),
        ("ResizeNearestNeighborV2D", {"size": (2, 2), "align_corners": True, "half_pixel_centers": True}, {}, "both"),
        ("LogSoftmaxV2", {"axes": (0, 1)}, {}, "several axes"),
        ("Cast", {"dst_type": 23}, {}, "`dst_type` must be an element type"),
        ("ArgMaxV2", {"dtype": {"dt": 99}}, {"dimension": longs(0)}, "`dtype` must be an element type"),
        ("Sort", {"axis": 4}, {}, "`axis` is 4"),
        ("PadD", {"paddings": (1, 2)}, {}, "`paddings` must have two numbers"),
        ("PadV3", {"mode": "wrap"}, {"paddings": longs(*range(8))}, "the mode `wrap`"),
        ("ClipByValue", {}, {"clip_value_min": IMAGE, "clip_value_max": IMAGE}, "no single numbers"),
    ],
)
def test_what_cannot_be_run_is_said(type: str, attrs: Attrs, weights: Weights, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        run(one_op(type, IMAGE, attrs, weights), IMAGE)
    (found,) = caught.value.diagnostics
    assert (found.code in ("AM320", "AM438"), words in found.message) == (True, True), found.message
