"""Layers over axes, normalization, products and resampling, against recorded figures and against their definitions.

The definitions are plain numpy in float64; what a real Caffe recorded is in golden/caffe (all types, another test)
and golden/caffe_fork (here).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from amctc.dialects.shapes import annotate_dtypes, infer_nodes
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.ir.node import Array, Shape
from amctc.runtime.executor import run_graph
from amctc.runtime.lowering import lower_nodes
from amctc.runtime.lowering.builder import unique_names
from amctc.runtime.session import Session
from amctc.text.plain import Plain, Symbol
from tests.runtime.nets import add_input, random
from tests.shared_files import GOLDEN, needs_golden

TOLERANCE = 2e-6
FORK = GOLDEN / "caffe_fork" / "layers"
FORK_TYPES = ("Normalize", "BilinearInterpolate", "Resize")


def _run(
    kind: str,
    inputs: Sequence[NDArray[np.float32]],
    parameter: Mapping[str, Mapping[str, Plain]] | None = None,
    weights: Mapping[str, Array] | None = None,
    tops: int = 1,
) -> list[NDArray[Any]]:
    """The tops of one layer, run by itself: an executor takes no empty or infinite feeds, layers may meet them."""
    graph = Graph("net")
    values = [add_input(graph, x.shape, f"in{index}").output for index, x in enumerate(inputs)]
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in (parameter or {}).items()}
    layer = graph.add("layer", f"caffe.{kind}", values, [f"out{n}" for n in range(tops)], attrs=attrs, weights=weights)
    shapes = infer_nodes([layer], {value: x.shape for value, x in zip(values, inputs, strict=True)})
    low = lower_nodes(graph, [layer], shapes, annotate_dtypes(graph), unique_names([*shapes]))
    found = Session(low, values, layer.outputs).run(dict(zip(values, inputs, strict=True)))
    return [found[value] for value in layer.outputs]


def _near(found: NDArray[Any], expected: ArrayLike) -> None:
    wanted = np.asarray(expected, np.float64)
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    largest = float(np.abs(wanted).max(initial=0))
    assert float(np.abs(found - wanted).max(initial=0)) <= TOLERANCE * largest


# -- the fork's figures ----------------------------------------------------------------------------


def _fork_cases() -> list[Path]:
    return sorted(path for kind in FORK_TYPES for path in FORK.glob(f"{kind}__*.prototxt"))


@needs_golden
def test_the_fork_recorded_each_of_its_types() -> None:
    assert {path.name.partition("__")[0] for path in _fork_cases()} == {*FORK_TYPES}
    assert len(_fork_cases()) == 13


@needs_golden
@pytest.mark.parametrize("prototxt", _fork_cases(), ids=lambda path: path.stem)
def test_every_blob_equals_the_forks(prototxt: Path) -> None:
    caffemodel = prototxt.with_suffix(".caffemodel")
    graph = load_caffe(prototxt, caffemodel if caffemodel.is_file() else None)
    with np.load(prototxt.with_suffix(".npz")) as arrays:
        feeds = {name.removeprefix("in/"): arrays[name] for name in arrays.files if name.startswith("in/")}
        blobs = {name.removeprefix("blob/"): arrays[name] for name in arrays.files if name.startswith("blob/")}
    found = run_graph(graph, feeds, list(blobs))
    assert "out" in blobs
    for name, expected in blobs.items():
        _near(found[name], expected)


# -- sums and extremes -----------------------------------------------------------------------------

REDUCTIONS: dict[str, Any] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceProd": np.prod,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("axes", [(), (1,), (-1, 0), (0, 1, 2, 3)])
@pytest.mark.parametrize("keepdims", [True, False])
def test_a_reduce_layer_is_numpys_reduction(kind: str, axes: tuple[int, ...], keepdims: bool) -> None:
    x = random((2, 3, 4, 5))
    [found] = _run(kind, [x], {"reduce_param": {"axis": axes, "keepdims": keepdims}})
    expected = REDUCTIONS[kind](x.astype(np.float64), axis=axes or None, keepdims=keepdims)
    _near(found, expected)


def test_a_reduce_layer_keeps_its_axes_by_default() -> None:
    [found] = _run("ReduceSum", [random((2, 3))], {"reduce_param": {"axis": (1,)}})
    assert found.shape == (2, 1)


@pytest.mark.parametrize(("kind", "expected"), [("ReduceSum", 0.0), ("ReduceProd", 1.0), ("ReduceMean", np.nan)])
def test_a_reduction_of_nothing_has_numpys_value(kind: str, expected: float) -> None:
    [found] = _run(kind, [random((2, 0))], {"reduce_param": {"axis": (1,), "keepdims": False}})
    assert np.array_equal(found, np.full(2, expected), equal_nan=True)


def test_a_sum_over_many_elements_stays_exact_enough() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (2, 1_000_000)).astype(np.float32)
    [found] = _run("Reduction", [x], {"reduction_param": {"axis": 1, "operation": Symbol("MEAN")}})
    _near(found, x.mean(axis=1, dtype=np.float64))


# -- places and order ------------------------------------------------------------------------------

TIED = np.array([[1, 3, 3, 0, 0, 3], [2, 2, 2, 2, 2, 2]], np.float32)


def test_arg_max_prefers_the_highest_index_of_equals_and_arg_min_the_lowest() -> None:
    parameter: dict[str, dict[str, Plain]] = {"argmax_param": {"axis": 1, "top_k": 4}}
    [largest] = _run("ArgMax", [TIED], parameter)
    [smallest] = _run("ArgMin", [TIED], parameter)
    np.testing.assert_array_equal(largest, [[5, 2, 1, 0], [5, 4, 3, 2]])
    np.testing.assert_array_equal(smallest, [[3, 4, 0, 1], [0, 1, 2, 3]])


def test_arg_min_is_arg_max_of_the_negative_input() -> None:
    x = random((3, 4, 5))
    parameter: dict[str, dict[str, Plain]] = {"argmax_param": {"top_k": 3, "out_max_val": True}}
    [smallest] = _run("ArgMin", [x], parameter)
    [largest] = _run("ArgMax", [-x], parameter)
    assert smallest.shape == (3, 2, 3)
    np.testing.assert_array_equal(smallest[:, 0], largest[:, 0])
    np.testing.assert_array_equal(smallest[:, 1], -largest[:, 1])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sort_is_stable_and_its_second_top_has_the_indices(descending: bool, axis: int) -> None:
    x = np.random.default_rng(3).integers(0, 4, (5, 6, 7)).astype(np.float32)
    values, indices = _run("Sort", [x], {"sort_param": {"axis": axis, "descending": descending}}, tops=2)
    expected = np.argsort(-x if descending else x, axis=axis, kind="stable")
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis))
    assert indices.dtype == np.float32


@pytest.mark.parametrize("largest", [True, False])
def test_top_k_gives_the_best_first(largest: bool) -> None:
    x = np.random.default_rng(4).integers(0, 5, (4, 9)).astype(np.float32)
    values, indices = _run("TopK", [x], {"topk_param": {"k": 3, "largest": largest}}, tops=2)
    expected = np.argsort(-x if largest else x, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))


# -- normalization ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("across", [True, False])
def test_mvm_is_mvn_and_has_four_axes(shape: Shape, across: bool) -> None:
    x = random(shape)
    parameter: dict[str, dict[str, Plain]] = {"mvn_param": {"across_channels": across, "eps": 0.05}}
    four = x.astype(np.float64).reshape(*shape, *(1,) * (4 - len(shape)))
    axes = (1, 2, 3) if across else (2, 3)
    centred = four - four.mean(axis=axes, keepdims=True)
    expected = centred / (np.sqrt((centred**2).mean(axis=axes, keepdims=True)) + 0.05)
    for kind in ("MVN", "Mvm"):
        [found] = _run(kind, [x], parameter)
        _near(found, expected)


@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5), (2, 6, 3, 4)])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_group_norm_standardizes_groups_of_channels(shape: Shape, groups: int, mean: float) -> None:
    x = random(shape) + np.float32(mean)
    scale, shift = random((6,), 1), random((6,), 2)
    parameter: dict[str, dict[str, Plain]] = {"group_norm_param": {"group_num": groups, "eps": 0.01}}
    [found] = _run("GroupNorm", [x], parameter, {"scale": scale, "shift": shift})
    grouped = x.astype(np.float64).reshape(shape[0], groups, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    plain = (centred / np.sqrt(grouped.var(axis=2, keepdims=True) + 0.01)).reshape(shape)
    spread = (6, *(1,) * (len(shape) - 2))
    _close(found, plain * scale.reshape(spread) + shift.reshape(spread), mean)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_layer_normalization_standardizes_the_axes_from_its_axis_on(axis: int, mean: float) -> None:
    x = random((3, 4, 5)) + np.float32(mean)
    axes = tuple(range(axis % 3, 3))
    inner = x.shape[axis % 3 :]
    scale, shift = random(inner, 1), random(inner, 2)
    wide = x.astype(np.float64)
    plain = (wide - wide.mean(axis=axes, keepdims=True)) / np.sqrt(wide.var(axis=axes, keepdims=True) + 1e-5)
    [found] = _run("LayerNormalization", [x], {"layer_norm_param": {"axis": axis, "affine": False}})
    _close(found, plain, mean)
    weights = {"scale": scale, "shift": shift}
    [found] = _run("LayerNormalization", [x], {"layer_norm_param": {"axis": axis}}, weights)
    _close(found, plain * scale + shift, mean)


def _close(found: NDArray[Any], expected: NDArray[np.float64], mean: float) -> None:
    """Within the tolerance, and what rounding the mean itself to float32 may move."""
    assert found.shape == expected.shape
    allowed = TOLERANCE * np.abs(expected).max() + 4 * mean * np.finfo(np.float32).eps
    assert np.abs(found - expected).max() <= allowed


# -- products --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("batches", [((), ()), ((2, 3), (2, 3)), ((2, 1), (3,)), ((), (4,))])
def test_matmul_is_the_product_of_the_last_two_axes(
    flags: tuple[bool, bool], batches: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    a, b = random((*batches[0], 4, 5)), random((*batches[1], 5, 6), 1)
    given = [x.swapaxes(-1, -2) if flag else x for x, flag in zip((a, b), flags, strict=True)]
    expected = a.astype(np.float64) @ b.astype(np.float64)
    [found] = _run("MatMul", given, {"matmul_param": {"transpose_a": flags[0], "transpose_b": flags[1]}})
    _near(found, expected)
    for kind in ("MatMul", "BatchedMatMul"):
        [found] = _run(kind, given, {"batch_matmul_param": {"adj_x1": flags[0], "adj_x2": flags[1]}})
        _near(found, expected)


@pytest.mark.parametrize("flags", [(False, False), (True, True)])
@pytest.mark.parametrize("summand", [None, (), (6,), (4, 1), (4, 6)])
def test_gemm_adds_a_multiple_of_its_third_input(flags: tuple[bool, bool], summand: Shape | None) -> None:
    a, b = random((4, 5)), random((5, 6), 1)
    given = [x.T if flag else x for x, flag in zip((a, b), flags, strict=True)]
    expected = 0.5 * (a.astype(np.float64) @ b.astype(np.float64))
    if summand is not None:
        given.append(random(summand, 2))
        expected = expected - 3.0 * given[2]
    parameter: dict[str, Plain] = {"alpha": 0.5, "beta": -3.0, "transpose_a": flags[0], "transpose_b": flags[1]}
    [found] = _run("Gemm", given, {"gemm_param": parameter})
    _near(found, expected)


def test_products_over_an_inner_size_of_nothing_are_zero() -> None:
    a, b, c = random((2, 0)), random((0, 3)), random((3,))
    np.testing.assert_array_equal(_run("MatMul", [a, b])[0], np.zeros((2, 3)))
    np.testing.assert_array_equal(_run("Gemm", [a, b])[0], np.zeros((2, 3)))
    _near(_run("Gemm", [a, b, c], {"gemm_param": {"beta": 2.0}})[0], np.tile(2.0 * c, (2, 1)))


def test_im2col_of_three_spatial_axes_puts_the_windows_into_the_channels() -> None:
    x = random((2, 3, 4, 5, 6))
    fields: dict[str, Plain] = {"kernel_size": (2, 3, 2), "stride": (1, 2, 3), "pad": (1, 0, 2), "dilation": (2, 1, 1)}
    [found] = _run("Im2col", [x], {"convolution_param": fields})
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0), (2, 2)))
    expected = np.empty((2, 3, 2, 3, 2, 4, 2, 3), np.float32)
    for i, j, k in np.ndindex(2, 3, 2):
        taken = padded[:, :, 2 * i :: 1, j::2, k::3]
        expected[:, :, i, j, k] = taken[:, :, :4, :2, :3]
    np.testing.assert_array_equal(found, expected.reshape(2, 36, 4, 2, 3))


def test_im2col_leaves_infinite_neighbours_out_of_other_columns() -> None:
    x = np.array([[[1, np.inf, 2]]], np.float32)
    [found] = _run("Im2col", [x], {"convolution_param": {"kernel_size": (2,), "pad": (1,)}})
    np.testing.assert_array_equal(found, [[[0, 1, np.inf, 2], [1, np.inf, 2, 0]]])


def test_im2col_of_nothing_but_padding_is_zero() -> None:
    [found] = _run("Im2col", [random((1, 2, 0))], {"convolution_param": {"kernel_size": (2,), "pad": (1,)}})
    np.testing.assert_array_equal(found, np.zeros((1, 4, 1)))


# -- resampling ------------------------------------------------------------------------------------


def _interpolated(x: NDArray[np.float32], high: int, wide: int) -> NDArray[np.float64]:
    """Bilinear with aligned corners, by numpy's own linear interpolation."""
    rows = np.linspace(0, x.shape[2] - 1, high) if high > 1 else np.zeros(1)
    columns = np.linspace(0, x.shape[3] - 1, wide) if wide > 1 else np.zeros(1)
    found = np.empty((*x.shape[:2], high, wide))
    for n, c in np.ndindex(x.shape[:2]):
        along = np.array([np.interp(columns, np.arange(x.shape[3]), row) for row in x[n, c]])
        found[n, c] = np.array([np.interp(rows, np.arange(x.shape[2]), column) for column in along.T]).T
    return found


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"height": 9, "width": 4}, (9, 4)),
        ({"height": 1, "width": 7}, (1, 7)),
        ({"zoom_factor": 2}, (9, 13)),
        ({"shrink_factor": 2}, (3, 4)),
        ({"shrink_factor": 2, "zoom_factor": 3}, (7, 10)),
        ({"zoom_factor": 1}, (5, 7)),
    ],
)
def test_interp_keeps_the_corners(fields: dict[str, Plain], size: tuple[int, int]) -> None:
    x = random((2, 3, 5, 7))
    [found] = _run("Interp", [x], {"interp_param": fields})
    _near(found, _interpolated(x, *size))


def test_interp_crops_before_it_resamples() -> None:
    x = random((1, 2, 6, 8))
    [found] = _run("Interp", [x], {"interp_param": {"height": 9, "width": 5, "pad_beg": -1, "pad_end": -2}})
    _near(found, _interpolated(x[:, :, 1:-2, 1:-2], 9, 5))


def test_a_resize_by_one_is_the_input_itself() -> None:
    x = np.array([[[[1, np.inf], [-2, 3]]]], np.float32)
    for kind, parameter in {"Resize": "resize_param", "Interp": "interp_param"}.items():
        [found] = _run(kind, [x], {parameter: {"height": 2, "width": 2}})
        np.testing.assert_array_equal(found, x)


# -- blobs without elements ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "parameter", "expected"),
    [
        ("Reduction", {"reduction_param": {"axis": 1}}, (0,)),
        ("ReduceMax", {"reduce_param": {"axis": (1,)}}, (0, 1, 5, 5)),
        ("ArgMax", {"argmax_param": {"axis": 1}}, (0, 1, 5, 5)),
        ("Sort", {}, (0, 3, 5, 5)),
        ("TopK", {}, (0, 3, 5, 1)),
        ("MVN", {}, (0, 3, 5, 5)),
        ("SPP", {"spp_param": {"pyramid_height": 2}}, (0, 15)),
        ("Im2col", {"convolution_param": {"kernel_size": (3,)}}, (0, 27, 3, 3)),
        ("Interp", {"interp_param": {"height": 2, "width": 9}}, (0, 3, 2, 9)),
        ("LayerNormalization", {"layer_norm_param": {"affine": False}}, (0, 3, 5, 5)),
    ],
)
def test_an_empty_batch_gives_an_empty_result(
    kind: str, parameter: Mapping[str, Mapping[str, Plain]], expected: Shape
) -> None:
    [found] = _run(kind, [random((0, 3, 5, 5))], parameter)
    assert found.shape == expected
