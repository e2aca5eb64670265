"""Layers that move, select, repeat or create elements, against recorded figures and plain numpy definitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.ir.node import Array, Shape
from amctc.runtime.executor import Executor, run_graph
from amctc.text.plain import Plain
from tests.runtime.nets import add_input, one_layer, random
from tests.shared_files import GOLDEN, needs_golden

FORK = GOLDEN / "caffe_fork"
FORK_TYPES = ("MaxUnPool", "Pad", "Permute", "PixelShuffle", "Unsqueeze", "Upsample")
FLOATS = NDArray[np.float32]


def fork_cases() -> list[str]:
    path = FORK / "manifest.json"
    manifest: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cases": []}
    return [case["case"] for case in manifest["cases"] if case["type"] in FORK_TYPES]


@needs_golden
@pytest.mark.parametrize("case", fork_cases())
def test_the_result_equals_the_forks(case: str) -> None:
    with np.load(FORK / "layers" / f"{case}.npz") as file:
        recorded: dict[str, FLOATS] = {name: file[name] for name in file.files}
    feeds = {name.removeprefix("in/"): array for name, array in recorded.items() if name.startswith("in/")}
    found = run_graph(load_caffe(FORK / "layers" / f"{case}.prototxt"), feeds)
    assert "out" in found
    for name, array in found.items():
        np.testing.assert_array_equal(array, recorded[f"blob/{name}"], err_msg=name)


@needs_golden
def test_the_forks_cases_are_there() -> None:
    assert len(fork_cases()) == 19


def run_one(kind: str, x: Array, parameter: Mapping[str, Mapping[str, Plain]] | None = None) -> FLOATS:
    graph = one_layer(kind, x.shape, parameter)
    return Executor(graph).run({"data": x})[graph.outputs[0]]


def run_two(
    kind: str, inputs: tuple[Array, ...], parameter: Mapping[str, Plain] | None = None, field: str = ""
) -> FLOATS:
    """The layer's first top for several inputs."""
    graph = Graph("net")
    values = [add_input(graph, array.shape, f"in{i}").output for i, array in enumerate(inputs)]
    attrs: dict[str, Plain] = {field: dict(parameter)} if parameter is not None else {}
    layer = graph.add("layer", f"caffe.{kind}", values, ["out"], attrs=attrs)
    graph.outputs = [layer.output]
    return Executor(graph).run({f"in{i}": array for i, array in enumerate(inputs)})[layer.output]


# --- pure movement -------------------------------------------------------------------------------


def test_reverse_turns_axis_0_round_unless_told_others() -> None:
    x = random((3, 4, 5))
    np.testing.assert_array_equal(run_one("Reverse", x), x[::-1])
    found = run_one("Reverse", x, {"reverse_param": {"axis": (1, -1)}})
    np.testing.assert_array_equal(found, x[:, ::-1, ::-1])


def test_shuffle_channel_deals_the_groups_out() -> None:
    x = random((2, 6, 2, 3))
    found = run_one("ShuffleChannel", x, {"shuffle_channel_param": {"group": 3}})
    np.testing.assert_array_equal(found, x[:, [0, 2, 4, 1, 3, 5]])
    matrix = random((2, 6))
    np.testing.assert_array_equal(
        run_one("ShuffleChannel", matrix, {"shuffle_channel_param": {"group": 2}}), matrix[:, [0, 3, 1, 4, 2, 5]]
    )


def test_reorg_puts_the_elements_of_a_block_behind_each_other_in_the_channels() -> None:
    x = random((2, 3, 4, 6))
    found = run_one("Reorg", x)
    assert found.shape == (2, 12, 2, 3)
    for y in range(2):
        for z in range(2):
            first = (y * 2 + z) * 3
            np.testing.assert_array_equal(found[:, first : first + 3], x[:, :, y::2, z::2])


def darknet_reversed(x: FLOATS, stride: int) -> FLOATS:
    """darknet's `reorg_cpu` with `forward` set: channel k of the input holds element k // C of channel k % C."""
    count, channels, height, width = x.shape
    kept = channels // stride**2
    out = np.empty((count, kept, height * stride, width * stride), np.float32)
    for k in range(channels):
        offset = k // kept
        out[:, k % kept, offset // stride :: stride, offset % stride :: stride] = x[:, k]
    return out


@given(stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_reorg_reversed_is_darknets_and_undoes_reorg(stride: int, seed: int) -> None:
    small = random((2, 2 * stride**2, 2, 3), seed)
    parameter: dict[str, Plain] = {"stride": stride, "reverse": True}
    large = run_one("Reorg", small, {"reorg_param": parameter})
    np.testing.assert_array_equal(large, darknet_reversed(small, stride))
    np.testing.assert_array_equal(run_one("Reorg", large, {"reorg_param": {"stride": stride}}), small)


def test_pass_through_takes_blocks_that_are_not_square() -> None:
    x = random((1, 2, 4, 9))
    parameter: dict[str, Plain] = {"block_height": 2, "block_width": 3, "num_output": 12}
    found = run_one("PassThrough", x, {"pass_through_param": parameter})
    assert found.shape == (1, 12, 2, 3)
    np.testing.assert_array_equal(found[:, 2 * 4 : 2 * 5], x[:, :, 1::2, 1::3])


def test_a_pass_through_with_reorgs_parameters_is_a_reorg() -> None:
    x = random((1, 18, 2, 2))
    parameter: dict[str, dict[str, Plain]] = {"reorg_param": {"stride": 3, "reverse": True}}
    np.testing.assert_array_equal(run_one("PassThrough", x, parameter), run_one("Reorg", x, parameter))


@pytest.mark.parametrize(
    ("parameter", "high", "wide", "factor"),
    [
        ({}, 2, 2, 1.0),
        ({"stride": 3}, 3, 3, 1.0),
        ({"stride_h": 3}, 3, 2, 1.0),
        ({"stride_h": 1, "stride_w": 4, "scale": 0.5}, 1, 4, 0.5),
        ({"stride": 2, "scale": 2.0}, 2, 2, 2.0),
        ({"scale": 3.0}, 3, 3, 1.0),
    ],
)
def test_upsample_repeats_by_strides_or_by_scale_alone(
    parameter: dict[str, Plain], high: int, wide: int, factor: float
) -> None:
    x = random((2, 3, 2, 5))
    expected = x.repeat(high, axis=2).repeat(wide, axis=3) * np.float32(factor)
    np.testing.assert_array_equal(run_one("Upsample", x, {"upsample_param": parameter}), expected)


@pytest.mark.parametrize(
    ("kind", "parameter", "move"),
    [
        ("Permute", {"permute_param": {"order": (0, 2, 1)}}, lambda x: x.transpose(0, 2, 1)),
        ("Reverse", {"reverse_param": {"axis": (2,)}}, lambda x: x[:, :, ::-1]),
        ("ShuffleChannel", {"shuffle_channel_param": {"group": 2}}, lambda x: x[:, [0, 2, 1, 3]]),
        ("Unsqueeze", {"unsqueeze_param": {"dim": 0}}, lambda x: x[None]),
        ("Slice", {"slice_param": {"axis": 0}}, lambda x: x),
        ("Tile", {"tile_param": {"axis": 1, "tiles": 3}}, lambda x: np.tile(x, (1, 3, 1))),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_integers_are_moved_as_they_are(
    kind: str, parameter: dict[str, dict[str, Plain]], move: Callable[[Array], Array], bits: int
) -> None:
    graph = Graph("net")
    data = add_input(graph, (2, 4, 3))
    quantize = graph.add("quant", "quant.Quantize", [data.output], attrs={"scale": 0.01, "offset": 0, "bits": bits})
    attrs: dict[str, Plain] = {name: dict(fields) for name, fields in parameter.items()}
    layer = graph.add("layer", f"caffe.{kind}", [quantize.output], ["out"], attrs=attrs)
    graph.outputs = [quantize.output, layer.output]
    annotate_shapes(graph)
    found = Executor(graph).run({"data": random((2, 4, 3))})
    integers = found[quantize.output]
    assert integers.dtype == found[layer.output].dtype == np.dtype(f"int{bits}")
    np.testing.assert_array_equal(found[layer.output], move(integers))


# --- cutting and padding -------------------------------------------------------------------------


@given(data=st.data())
def test_slices_put_together_are_the_blob(data: st.DataObject) -> None:
    shape = (2, 7, 3)
    axis = data.draw(st.integers(-3, 2))
    points = data.draw(st.lists(st.integers(1, shape[axis]), unique=True, max_size=shape[axis] - 1).map(sorted))
    x = random(shape)
    graph = Graph("net")
    attrs: dict[str, Plain] = {"slice_param": {"slice_point": tuple(points), "axis": axis}}
    tops = [f"top{i}" for i in range(len(points) + 1)]
    layer = graph.add("layer", "caffe.Slice", [add_input(graph, shape).output], tops, attrs=attrs)
    graph.outputs = list(layer.outputs)
    found = Executor(graph).run({"data": x})
    parts = np.split(x, points, axis=axis)
    for value, part in zip(layer.outputs, parts, strict=True):
        np.testing.assert_array_equal(found[value], part)


@pytest.mark.parametrize(("word", "mode"), [("CONSTANT", "constant"), ("REPLICATE", "edge"), ("REFLECT", "reflect")])
def test_pad_cuts_first_and_then_adds(word: str, mode: Any) -> None:
    x = random((1, 2, 6, 7))
    parameter: dict[str, Plain] = {"pad_type": word, "pad_u": -2, "pad_d": 3, "pad_l": 2, "pad_r": -1}
    expected = np.pad(x[:, :, 2:, :-1], ((0, 0), (0, 0), (0, 3), (2, 0)), mode=mode)
    np.testing.assert_array_equal(run_one("Pad", x, {"pad_param": parameter}), expected)


def test_crop_reads_the_second_inputs_shape_only() -> None:
    x, size = random((2, 3, 5, 6)), np.full((1, 1, 2, 4, 9), 7, np.float32)
    found = run_two("Crop", (x, size), {"axis": 2, "offset": (3, 1)}, "crop_param")
    np.testing.assert_array_equal(found, x[:, :, 3:5, 1:5])


# --- picking and placing -------------------------------------------------------------------------


def test_an_index_outside_the_batch_is_told_with_the_layer() -> None:
    x = random((3, 2))
    np.testing.assert_array_equal(run_two("BatchReindex", (x, np.array([2, 0, 2, 2]))), x[[2, 0, 2, 2]])
    for index in (3, -1):
        with pytest.raises(DiagnosticError, match=r"AM433.*layer `layer`.*\[1\] names none of the 3 items"):
            run_two("BatchReindex", (x, np.array([0, index])))


def test_embed_cuts_indices_to_whole_numbers_and_refuses_others() -> None:
    weight, bias = random((4, 3)), random((3,), 1)
    graph = one_layer(
        "Embed", (2, 2), {"embed_param": {"input_dim": 4, "num_output": 3}}, {"weight": weight, "bias": bias}
    )
    found = Executor(graph).run({"data": [[0.0, 3.9], [1.0, 1.0]]})[graph.outputs[0]]
    np.testing.assert_array_equal(found, weight[[[0, 3], [1, 1]]] + bias)
    with pytest.raises(DiagnosticError, match=r"AM433.*names none of the 4 rows"):
        Executor(graph).run({"data": [[0, 4], [1, 1]]})


def chained_behind_filter(kind: str, shape: Shape, parameter: Mapping[str, Plain], field: str) -> Graph:
    """Filter, then another layer, whose batch is as large as the selector says."""
    graph = Graph("net")
    data, selector = add_input(graph, shape), add_input(graph, (shape[0],), "selector")
    kept = graph.add("kept", "caffe.Filter", [data.output, selector.output])
    attrs: dict[str, Plain] = {field: dict(parameter)}
    layer = graph.add("layer", f"caffe.{kind}", [kept.output], ["out"], attrs=attrs)
    graph.outputs = [layer.output]
    return graph


@pytest.mark.parametrize(
    ("kind", "field", "parameter"),
    [
        ("Permute", "permute_param", {"order": (1, 0)}),
        ("Reverse", "reverse_param", {"axis": (0, 2)}),
        ("ShuffleChannel", "shuffle_channel_param", {"group": 2}),
        ("Reorg", "reorg_param", {}),
        ("PixelShuffle", "pixelshuffle_param", {"upscale_factor": 2}),
        ("Upsample", "upsample_param", {"stride": 2}),
        ("Tile", "tile_param", {"tiles": 2}),
        ("Pad", "pad_param", {"pad_u": 1, "pad_type": "REPLICATE"}),
        ("Unsqueeze", "unsqueeze_param", {"dim": 1}),
        ("Slice", "slice_param", {}),
        ("Unpooling", "unpooling_param", {"kernel_size": 2, "stride": 2}),
    ],
)
def test_a_batch_that_turns_out_smaller_or_empty_goes_through(
    kind: str, field: str, parameter: dict[str, Plain]
) -> None:
    x = random((3, 4, 2, 2))
    graph = chained_behind_filter(kind, x.shape, parameter, field)
    executor = Executor(graph)
    for selector in ([0, 1, 0], [0, 0, 0], [1, 0.5, -1]):
        chosen = np.array(selector, np.float32)
        kept = x[chosen != 0]
        found = executor.run({"data": x, "selector": chosen})[graph.outputs[0]]
        if len(kept):
            np.testing.assert_array_equal(found, run_one(kind, kept, {field: parameter}))
        else:
            assert found.size == 0


def test_unpooling_puts_the_maxima_back_where_they_were() -> None:
    x = random((2, 3, 6, 8))
    graph = Graph("net")
    pooling: dict[str, Plain] = {"pooling_param": {"kernel_size": 2, "stride": 2}}
    pool = graph.add("pool", "caffe.Pooling", [add_input(graph, x.shape).output], ["p", "mask"], attrs=pooling)
    unpooling: dict[str, Plain] = {"unpooling_param": {"kernel_size": 2, "stride": 2}}
    graph.add("back", "caffe.Unpooling", pool.outputs, ["out"], attrs=unpooling)
    found = run_graph(graph, {"data": x})
    largest = found["p"].repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(found["out"], np.where(x == largest, x, 0))


def test_an_index_outside_the_output_places_nothing() -> None:
    data = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3)
    mask = np.array([[0, -1, 8], [9, 3, 3]], np.float32).reshape(data.shape)
    found = run_two("MaxUnPool", (data, mask), {"dst_h": 3, "dst_w": 3}, "max_unpool_param")
    np.testing.assert_array_equal(found[0, 0], [[1, 0, 0], [6, 0, 0], [0, 0, 3]])


def test_unpooling_without_a_mask_fills_the_first_of_each_window() -> None:
    x = random((1, 2, 2, 3))
    found = run_one("Unpooling", x, {"unpooling_param": {"stride_h": 2, "stride_w": 1, "unpool_h": 3, "unpool_w": 4}})
    expected = np.zeros((1, 2, 3, 4), np.float32)
    expected[:, :, ::2, :3] = x
    np.testing.assert_array_equal(found, expected)


# --- inputs and constants ------------------------------------------------------------------------


def test_an_input_of_unknown_shape_takes_what_is_fed() -> None:
    graph = Graph("net")
    data = graph.add("data", "caffe.HDF5Data", [], ["data", "label"])
    relu = graph.add("relu", "caffe.ReLU", [data.output])
    tile: dict[str, Plain] = {"tile_param": {"axis": 0, "tiles": 2}}
    twice = graph.add("tile", "caffe.Tile", [relu.output], attrs=tile).output
    assert annotate_shapes(graph) == {}
    executor = Executor(graph, fetch=[twice])
    for shape in ((2, 3), (4,), (1, 2, 2, 2)):
        x = random(shape)
        np.testing.assert_array_equal(executor.run({"data": x})[twice], np.concatenate([x.clip(0)] * 2))
    with pytest.raises(DiagnosticError, match=r"AM400.*`data` is not fed; the model does not say its shape"):
        executor.run({})
    with pytest.raises(DiagnosticError, match="AM442"):
        executor.run({"data": ["a"]})


def test_an_input_layer_without_a_shape_is_fed_too() -> None:
    graph = Graph("net")
    data = graph.add("data", "caffe.Input")
    graph.add("relu", "caffe.ReLU", [data.output])
    np.testing.assert_array_equal(run_graph(graph, {"data": [[-1.0, 2.0]]})["relu"], [[0, 2]])


def test_a_layer_without_tops_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "MemoryData" top: "x" top: "y" memory_data_param '
        "{ batch_size: 2 channels: 1 height: 3 width: 4 } }\n"
        'layer { name: "h" type: "HDF5Output" bottom: "x" bottom: "y" hdf5_output_param { file_name: "out.h5" } }\n'
        'layer { name: "s" type: "Silence" bottom: "y" }\n',
        encoding="utf-8",
    )
    graph = load_caffe(path)
    assert graph.outputs == []
    assert graph.node("d").outputs[1].shape == (2,)
    assert set(run_graph(graph, {"x": np.zeros((2, 1, 3, 4)), "y": [0, 1]})) == {"x", "y"}
    assert not list(tmp_path.glob("*.h5"))
