"""What layers that move, select, repeat or create elements infer, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.protobuf import text_format

from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.dialects.op import OpError, UnknownShape
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.ir.node import Shape
from amctc.text.plain import Plain


def infer(kind: str, shapes: Sequence[Shape], parameters: str = "", tops: int = 1) -> tuple[Shape, ...]:
    """What the row infers for a layer with these parameters, in prototxt's words."""
    graph = Graph("net")
    inputs = [graph.add(f"in{i}", "caffe.Input").output for i in range(len(shapes))]
    node = graph.add("layer", f"caffe.{kind}", inputs, [f"top{i}" for i in range(tops)], attrs=attributes(parameters))
    return op_def(node).infer(node, tuple(shapes))


def attributes(parameters: str) -> dict[str, Plain]:
    """The fields of a layer as the frontend gives them to a node."""
    message = caffe_schema().message(LAYER)()
    text_format.Parse(parameters, message)
    return {field.name: _plain(message, field.name) for field, _ in message.ListFields()}


def _plain(message: object, name: str) -> Plain:
    inner = getattr(message, name)
    found: dict[str, Plain] = {}
    for field, value in inner.ListFields():
        if field.message_type is not None:
            items = value if field.is_repeated else [value]
            plain = tuple({sub.name: _numbers(number) for sub, number in item.ListFields()} for item in items)
            found[field.name] = plain if field.is_repeated else plain[0]
        else:
            found[field.name] = _numbers(value)
    return found


def _numbers(value: object) -> Plain:
    if isinstance(value, int | float | str | bool):
        return value
    assert isinstance(value, Sequence)
    return tuple(value)


IMAGE: Shape = (2, 4, 6, 8)

SHAPES: list[tuple[str, list[Shape], str, list[Shape]]] = [
    ("Slice", [IMAGE], "", [(2, 2, 6, 8)] * 2),
    ("Slice", [IMAGE], "slice_param { slice_point: 5 axis: -2 }", [(2, 4, 5, 8), (2, 4, 1, 8)]),
    ("Slice", [(2, 4)], "slice_param { slice_dim: 1 slice_point: 4 }", [(2, 4), (2, 0)]),
    ("Slice", [(0, 4)], "slice_param { axis: 0 }", [(0, 4)] * 3),
    ("Crop", [IMAGE, (1, 1, 2, 3)], "crop_param { offset: 4 offset: 5 }", [(2, 4, 2, 3)]),
    ("Crop", [IMAGE, (9, 9, 9, 3)], "crop_param { axis: 3 }", [(2, 4, 6, 3)]),
    ("Permute", [IMAGE], "permute_param { order: 2 order: 0 }", [(6, 2, 4, 8)]),
    ("Permute", [IMAGE], "", [IMAGE]),
    ("Unsqueeze", [IMAGE], "unsqueeze_param { dim: -1 }", [(2, 4, 6, 8, 1)]),
    ("Tile", [IMAGE], "tile_param { axis: -1 tiles: 3 }", [(2, 4, 6, 24)]),
    ("Reorg", [IMAGE], "", [(2, 16, 3, 4)]),
    ("Reorg", [IMAGE], "reorg_param { reverse: true }", [(2, 1, 12, 16)]),
    ("PassThrough", [IMAGE], "pass_through_param { block_height: 3 block_width: 1 }", [(2, 12, 2, 8)]),
    ("PixelShuffle", [IMAGE], "pixelshuffle_param { upscale_factor: 2 }", [(2, 1, 12, 16)]),
    ("Upsample", [IMAGE], "", [(2, 4, 12, 16)]),
    ("Upsample", [(2, 4, 6)], "upsample_param { scale: 3 dims_num: 3 }", [(2, 4, 18)]),
    ("Upsample", [(2, 4, 6)], "upsample_param { stride_w: 5 dims_num: 3 }", [(2, 4, 30)]),
    ("Pad", [IMAGE], "pad_param { pad_u: 1 pad_r: -3 }", [(2, 4, 7, 5)]),
    ("BatchReindex", [IMAGE, (7,)], "", [(7, 4, 6, 8)]),
    ("Filter", [IMAGE, (2, 3), (2, 1)], "", [IMAGE, (2, 3)]),
    ("Embed", [(5, 2)], "embed_param { input_dim: 9 num_output: 3 }", [(5, 2, 3)]),
    ("MaxUnPool", [IMAGE, IMAGE], "max_unpool_param { dst_h: 5 dst_w: 3 }", [(2, 4, 5, 3)]),
    ("Unpooling", [IMAGE], "unpooling_param { kernel_size: 3 stride: 2 pad: 1 }", [(2, 4, 11, 15)]),
    ("Unpooling", [IMAGE, IMAGE], "unpooling_param { unpool_size: 9 }", [(2, 4, 9, 9)]),
    ("Parameter", [], "parameter_param { shape { dim: 3 dim: 4 } }", [(3, 4)]),
    ("DummyData", [], "dummy_data_param { shape { dim: 3 } }", [(3,)] * 2),
    (
        "DummyData",
        [],
        "dummy_data_param { num: 1 num: 2 channels: 3 height: 4 width: 5 }",
        [(1, 3, 4, 5), (2, 3, 4, 5)],
    ),
    ("Silence", [IMAGE, (3,)], "", []),
    ("HDF5Output", [IMAGE, (3,)], 'hdf5_output_param { file_name: "a.h5" }', []),
    (
        "Data",
        [],
        "data_param { batch_size: 9 } transform_param { crop_size: 5 mean_value: 1 mean_value: 2 mean_value: 3 }",
        [(9, 3, 5, 5), (9,)],
    ),
    ("Data", [], "data_param { batch_size: 9 } transform_param { crop_size: 5 force_gray: true }", [(9, 1, 5, 5)]),
    ("ImageData", [], "image_data_param { batch_size: 4 new_height: 6 new_width: 7 }", [(4, 3, 6, 7), (4,)]),
    ("ImageData", [], "image_data_param { is_color: false } transform_param { crop_size: 5 }", [(1, 1, 5, 5), (1,)]),
    ("MemoryData", [], "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", [(2, 3, 4, 5), (2,)]),
    (
        "WindowData",
        [],
        "window_data_param { batch_size: 2 crop_size: 7 } transform_param { force_color: true }",
        [(2, 3, 7, 7), (2,)],
    ),
]


@pytest.mark.parametrize(("kind", "inputs", "parameters", "outputs"), SHAPES)
def test_the_shapes_are_those_of_the_parameters(
    kind: str, inputs: list[Shape], parameters: str, outputs: list[Shape]
) -> None:
    assert list(infer(kind, inputs, parameters, len(outputs))) == outputs


@pytest.mark.parametrize(
    ("kind", "parameters", "tops"),
    [
        ("Input", "", 1),
        ("HDF5Data", "", 2),
        ("AnnotatedData", "", 2),
        ("Data", "data_param { batch_size: 9 }", 2),
        ("Data", "data_param { batch_size: 9 } transform_param { crop_size: 5 mean_value: 104 }", 2),
        ("Data", "transform_param { crop_size: 5 force_color: true }", 1),
        ("ImageData", "image_data_param { batch_size: 4 }", 2),
        ("WindowData", "window_data_param { batch_size: 2 crop_size: 7 }", 2),
    ],
)
def test_a_source_whose_parameters_do_not_say_its_shape_leaves_it_unknown(
    kind: str, parameters: str, tops: int
) -> None:
    with pytest.raises(UnknownShape):
        infer(kind, [], parameters, tops)


REFUSED: list[tuple[str, list[Shape], str, int, str]] = [
    ("Slice", [IMAGE], "slice_param { axis: 1 slice_dim: 1 }", 2, "`axis` and `slice_dim` are both given"),
    ("Slice", [IMAGE], "", 3, "into 3 equal parts"),
    ("Slice", [IMAGE], "slice_param { slice_point: 1 }", 3, "3 tops need 2 `slice_point`, 1 given"),
    ("Slice", [IMAGE], "slice_param { slice_point: 3 slice_point: 2 }", 3, "larger than the one before"),
    ("Slice", [IMAGE], "slice_param { slice_point: 0 }", 2, "larger than the one before"),
    ("Slice", [IMAGE], "slice_param { slice_point: 5 }", 2, "at most 4"),
    ("Slice", [IMAGE], "slice_param { axis: 4 }", 2, "outside a blob of 4 axes"),
    ("Crop", [IMAGE, (1, 1, 6)], "", 1, "lacks axes"),
    ("Crop", [IMAGE, (1, 1, 2, 7)], "crop_param { offset: 2 }", 1, "do not fit axis 3, which is 8 long"),
    ("Crop", [IMAGE, IMAGE], "crop_param { axis: 1 offset: 0 offset: 0 }", 1, "2 `offset` for the 3 axes"),
    ("Permute", [IMAGE], "permute_param { order: 1 order: 1 }", 1, "stands twice"),
    ("Permute", [IMAGE], "permute_param { order: 4 }", 1, "`order` 4 is outside"),
    ("Reverse", [IMAGE], "reverse_param { axis: 3 axis: -1 }", 1, "stands twice"),
    ("Reverse", [()], "", 1, "outside a blob of 0 axes"),
    ("ShuffleChannel", [IMAGE], "shuffle_channel_param { group: 3 }", 1, "does not divide the 4 channels"),
    ("ShuffleChannel", [IMAGE], "shuffle_channel_param { group: 0 }", 1, "must be positive"),
    ("ShuffleChannel", [(4,)], "", 1, "a blob with channels"),
    ("Unsqueeze", [IMAGE], "", 1, "`dim` is missing"),
    ("Unsqueeze", [IMAGE], "unsqueeze_param { dim: 5 }", 1, "`dim` 5 is outside"),
    ("Tile", [IMAGE], "", 1, "`tiles` must be given"),
    ("Tile", [IMAGE], "tile_param { tiles: 2000000000 }", 1, "more than the"),
    ("Reorg", [IMAGE], "reorg_param { stride: 4 }", 1, "do not fill the image of 6x8"),
    ("Reorg", [IMAGE], "reorg_param { stride: 0 }", 1, "positive sizes"),
    ("Reorg", [IMAGE], "reorg_param { stride: 3 reverse: true }", 1, "cannot become blocks of 3x3"),
    ("PassThrough", [IMAGE], "pass_through_param { block_height: 2 }", 1, "positive sizes, not 2x0"),
    (
        "PassThrough",
        [IMAGE],
        "pass_through_param { num_output: 8 block_height: 2 block_width: 2 }",
        1,
        "`num_output` is 8, but the blocks give 16",
    ),
    ("PixelShuffle", [IMAGE], "", 1, "`upscale_factor` is missing"),
    ("PixelShuffle", [IMAGE], "pixelshuffle_param { upscale_factor: -2 }", 1, "positive sizes"),
    ("Upsample", [IMAGE], "upsample_param { scale: 1.5 }", 1, "whole number, not 1.5"),
    ("Upsample", [IMAGE], "upsample_param { scale: inf }", 1, "whole number"),
    ("Upsample", [IMAGE], "upsample_param { stride: -1 }", 1, "must be positive"),
    ("Upsample", [IMAGE], "upsample_param { dims_num: 3 }", 1, "takes a blob of 3 axes"),
    ("Upsample", [IMAGE], "upsample_param { dims_num: 5 }", 1, "3 or 4, not 5"),
    ("Pad", [IMAGE], "pad_param { pad_u: -7 }", 1, "cannot cut 7 and 0 off 6"),
    ("Pad", [IMAGE], "pad_param { pad_type: REFLECT pad_d: 6 }", 1, "at most 5 to a side of 6, not 6"),
    ("Pad", [IMAGE], "pad_param { pad_type: REPLICATE pad_l: 1 pad_r: -8 }", 1, "no edge to repeat"),
    ("Pad", [(2, 3)], "", 1, "takes a blob of 4 axes"),
    ("BatchReindex", [IMAGE, (3, 1)], "", 1, "must have one axis, not 3x1"),
    ("Filter", [IMAGE, (2, 2)], "", 1, "one number for each item"),
    ("Filter", [IMAGE, (3,)], "", 1, "as many items as the selector, 3"),
    ("Filter", [IMAGE, (2,)], "", 2, "one top for each input but the selector"),
    ("Embed", [(5,)], "embed_param { num_output: 3 }", 1, "must be given and be positive"),
    ("MaxUnPool", [IMAGE, IMAGE], "max_unpool_param { dst_h: 3 }", 1, "`dst_h` and `dst_w`"),
    (
        "MaxUnPool",
        [IMAGE, (2, 4, 6, 7)],
        "max_unpool_param { dst_h: 3 dst_w: 3 }",
        1,
        "must have the shape of the data",
    ),
    ("Unpooling", [IMAGE], "", 1, "the output's size is missing"),
    ("Unpooling", [IMAGE], "unpooling_param { kernel_size: 2 stride: 0 }", 1, "`stride` must be positive"),
    ("Unpooling", [IMAGE], "unpooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", 1, "are mixed"),
    ("Unpooling", [IMAGE], "unpooling_param { kernel_size: 2 stride_h: 2 }", 1, "are mixed"),
    ("Unpooling", [IMAGE], "unpooling_param { unpool: AVE kernel_size: 2 }", 1, "only `unpool: MAX`"),
    ("Unpooling", [IMAGE], "unpooling_param { kernel_size: 2 pad: 9 }", 1, "the output would be"),
    ("Input", [], "input_param { shape { dim: 1 } shape { dim: 2 } }", 3, "2 shapes for 3 tops"),
    ("Data", [], "transform_param { force_color: true force_gray: true }", 1, "keep one"),
    ("ImageData", [], "image_data_param { new_height: 3 }", 2, "belong together"),
    ("MemoryData", [], "memory_data_param { batch_size: 2 channels: 3 height: 4 }", 2, "must all be given"),
    ("Parameter", [], "parameter_param { shape { dim: -3 } }", 1, "the output would have the shape"),
    ("DummyData", [], "", 1, "0 shapes for 1 tops"),
    (
        "DummyData",
        [],
        'dummy_data_param { shape { dim: 2 } data_filler { type: "gaussian" } }',
        1,
        "`gaussian` does not say which figures",
    ),
    ("DummyData", [], "dummy_data_param { shape { dim: 2 } num: 1 channels: 1 height: 1 width: 1 }", 1, "are mixed"),
    ("DummyData", [], "dummy_data_param { num: 1 }", 1, "has 0 `channels` for 1 tops"),
    ("DummyData", [], "dummy_data_param { shape { dim: 2 } data_filler {} data_filler {} }", 3, "2 `data_filler`"),
]


@pytest.mark.parametrize(("kind", "inputs", "parameters", "tops", "words"), REFUSED)
def test_parameters_that_do_not_fit_are_refused(
    kind: str, inputs: list[Shape], parameters: str, tops: int, words: str
) -> None:
    with pytest.raises(OpError) as caught:
        infer(kind, inputs, parameters, tops)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["Permute", "Reverse", "ShuffleChannel", "Crop", "Reorg", "Upsample", "Filter"])
def test_a_layer_that_moves_elements_is_refused_in_place(kind: str) -> None:
    graph = Graph("net")
    data = graph.add("data", "caffe.Input")
    node = graph.add("layer", f"caffe.{kind}", [data.output, data.output], ["data"])
    with pytest.raises(OpError, match="cannot work in place"):
        op_def(node).infer(node, ((2, 4, 2, 2), (2, 4, 2, 2)))


def test_the_weights_are_those_of_the_parameters() -> None:
    graph = Graph("net")
    data = graph.add("data", "caffe.Input")
    embed: dict[str, Plain] = {"input_dim": 5, "num_output": 3}
    node = graph.add("e", "caffe.Embed", [data.output], attrs={"embed_param": embed})
    assert op_def(node).weight_shapes(node, ((2,),)) == {"weight": (5, 3), "bias": (3,)}
    node.attrs["embed_param"] = {**embed, "bias_term": False}
    assert op_def(node).weight_shapes(node, ((2,),)) == {"weight": (5, 3)}
    parameter = graph.add("p", "caffe.Parameter", attrs={"parameter_param": {"shape": {"dim": (2, 3)}}})
    assert op_def(parameter).weight_shapes(parameter, ()) == {"weight": (2, 3)}


def test_masks_and_sizes_are_not_data_to_quantize() -> None:
    graph = Graph("net")
    data = graph.add("data", "caffe.Input")
    for kind in ("Crop", "Unpooling"):
        node = graph.add(kind, f"caffe.{kind}", [data.output, data.output])
        assert op_def(node).data_inputs(node) == (0,)
