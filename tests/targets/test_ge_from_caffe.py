"""Caffe layers in GE files: what is read back computes what Caffe does, and the rest is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.data_layers import dummy_values
from amctc.dialects.table import op_def
from amctc.ir import Graph, Node
from amctc.runtime.executor import Executor
from amctc.targets.ge.crossing import in_ge
from tests.ge_files import assert_equal, run, through_a_file
from tests.nets import conv, data, layer, make_net
from tests.quantized import random_feeds
from tests.runtime.caffe_cases import CaffeCase, fork_cases, forward_cases
from tests.runtime.caffe_passes import Compared, load_case, write_fork_proto
from tests.runtime.test_recurrent_layers import net as recurrent_net
from tests.runtime.test_recurrent_layers import random_inputs, with_everything
from tests.shared_files import needs_golden

Arrays = Mapping[str, NDArray[np.float32]]

NO_FORM = {
    "Accuracy",
    "BatchReindex",
    "BilinearInterpolate",
    "Clip",
    "ContrastiveLoss",
    "Embed",
    "EuclideanLoss",
    "Filter",
    "HardSigmoid",
    "HingeLoss",
    "Im2col",
    "InfogainLoss",
    "LSTMUnit",
    "MaxUnPool",
    "MultinomialLogisticLoss",
    "Pad",
    "PixelShuffle",
    "Resize",
    "SigmoidCrossEntropyLoss",
    "SmoothL1Loss",
    "SoftmaxWithLoss",
    "Unsqueeze",
}
"""Types that Ascend's parser has no op for."""

REFUSED = {
    "does not run over the two axes of images": (
        "Convolution__1d",
        "Convolution__1d_dilation_group",
        "Convolution__3d",
        "Convolution__3d_anisotropic",
        "Convolution__axis2",
        "Convolution__axis_minus3",
        "Convolution__axis2_1d",
        "Deconvolution__1d",
        "Deconvolution__3d",
    ),
    "has several bottoms": ("Convolution__two_bottoms",),
    "is no MAX or AVE pooling": (
        "MaxUnPool__2x2",
        "Pooling__max_mask",
        "Pooling__max_mask_pad1",
        "Pooling__max_mask_ties",
    ),
    "the statistics of each batch": (
        "BatchNorm__global_stats_false_in_test",
        "BatchNorm__train_1_step",
        "BatchNorm__train_2d_2_steps",
        "BatchNorm__train_3_steps_test_phase",
        "BatchNorm__train_4_steps_fraction_0",
        "BatchNorm__train_4_steps_fraction_0p5",
        "BatchNorm__train_4_steps_fraction_0p9",
        "BatchNorm__train_4_steps_fraction_0p999",
        "BatchNorm__train_4_steps_from_loaded",
        "BatchNorm__train_m1",
    ),
    "works in place, where Caffe loses an input": ("Eltwise__in_place_first",),
    "give each top an Input layer of its own": (
        "DummyData__constant",
        "DummyData__one_filler_two_tops",
        "Input__one_shape_two_tops",
        "Input__several_shapes",
    ),
    "give it an `axis`": ("ArgMax__out_max_val", "ArgMax__out_max_val_top_k2"),
    "has a name that GE does not take": ("Net__names_with_slashes_and_dashes",),
    "a bound that is not 6": ("ReLU6__negative_slope", "ReLU6__threshold"),
    "data of 3 axes": ("Upsample__3d",),
    "write it as SSDDetectionOutput": (
        "DetectionOutput__background_1",
        "DetectionOutput__center_size",
        "DetectionOutput__corner",
        "DetectionOutput__corner_size",
        "DetectionOutput__eta",
        "DetectionOutput__nothing_found",
        "DetectionOutput__per_class_location",
        "DetectionOutput__variance_in_target",
    ),
    "leave out the second top": ("Proposal__batch2", "Proposal__default_nms", "Proposal__strict_nms"),
}
"""Why other cases are refused."""


def refusals(graph: Graph) -> list[str]:
    with pytest.raises(DiagnosticError) as caught:
        in_ge(graph)
    assert {found.code for found in caught.value.diagnostics} == {"AM715"}
    return [found.message for found in caught.value.diagnostics]


def why_refused(case: CaffeCase, graph: Graph) -> list[str]:
    """The words that a case must be refused with; none for one that can be written."""
    named = [words for words, names in REFUSED.items() if case.name in names]
    unknown = sorted({node.type for node in graph.nodes} & NO_FORM)
    return [*named, *(f"({type}): has no form in GE" for type in unknown)]


def ge_feeds(graph: Graph, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
    """The feeds of a Caffe graph by the names of GE's inputs; what a DummyData holds is fed too."""
    return {
        name: np.full(value.shape or (), dummy_values(node)[0], np.float32)
        if node.type == "DummyData"
        else feeds[value.blob]
        for node in graph.nodes
        if op_def(node).source or node.type == "DummyData"
        for value in node.outputs
        for name in [value.blob if node.name == "input" else node.name]
    }


def assert_same(graph: Graph, feeds: Arrays, folder: Path) -> list[NDArray[np.generic]]:
    """The graph in GE's words, through a file, gives bit for bit what Caffe's gives."""
    found = run(through_a_file(graph, folder), ge_feeds(graph, feeds))
    assert_equal(found, run(graph, feeds))
    return list(found)


@needs_golden
@pytest.mark.parametrize("part", range(8))
def test_every_recorded_layer_that_ge_has_is_the_same_in_a_ge_file(part: int, tmp_path: Path) -> None:
    cases = [*forward_cases(), *fork_cases()][part::8]
    fork, forks = write_fork_proto(tmp_path), set(fork_cases())
    written = [case for case in cases if _compare(case, tmp_path, fork if case in forks else None)]
    assert len(written) > len(cases) * 0.7


def _compare(case: CaffeCase, folder: Path, fork: Path | None) -> bool:
    graph = load_case(case, fork)
    wanted = why_refused(case, graph)
    if wanted:
        messages = refusals(graph)
        assert all(any(words in message for message in messages) for words in wanted), (case.name, messages)
        return False
    if not graph.outputs:
        assert not in_ge(graph).outputs
        return True
    recorded = case.recorded(0)
    feeds = {name.removeprefix("in/"): array for name, array in recorded.items() if name.startswith("in/")}
    found = assert_same(graph, feeds, folder)
    for value, array in zip(graph.outputs, found, strict=True):
        expected = recorded.get(f"blob/{value.blob}")
        if expected is not None:
            compared = Compared(value.blob, value.producer.type, array, expected)
            assert compared.difference < 1e-5, case.name
    return True


IMAGE = data("2 6 5 7")
REGIONS = data("3 5", "rois")
POOLED = "pooled_h: 2 pooled_w: 3 spatial_scale: 0.5"
ANCHORS = "scale: 32 scale: 64 ratio: 0.5 ratio: 1 min_size: 4 pre_nms_topn: 40 post_nms_topn: 7"
PROPOSED = data("2 8 3 4", "scores") + data("2 16 3 4", "deltas") + data("1 3", "info")

LAYERS = {
    "RReLU": (IMAGE, "data", "rrelu_param { lower: 0.1 upper: 0.3 }"),
    "Swish": (IMAGE, "data", "swish_param { beta: 1.5 }"),
    "Hswish": (IMAGE, "data", ""),
    "HardSwish": (IMAGE, "data", ""),
    "Mish": (IMAGE, "data", ""),
    "Mvm": (IMAGE, "data", ""),
    "Normalize": (IMAGE, "data", "norm_param { across_spatial: false channel_shared: false }"),
    "Reorg": (data("2 4 6 4"), "data", "reorg_param { stride: 2 }"),
    "PassThrough": (data("2 4 6 4"), "data", "pass_through_param { block_height: 2 block_width: 2 }"),
    "Upsample": (IMAGE, "data", "upsample_param { scale: 2 }"),
    "ShuffleChannel": (IMAGE, "data", "shuffle_channel_param { group: 3 }"),
    "Permute": (IMAGE, "data", "permute_param { order: 0 order: 2 }"),
    "Split": (IMAGE, "data", 'top: "second"'),
    "BatchedMatMul": (
        data("2 3 4", "a") + data("2 5 4", "b"),
        "a b",
        "batch_matmul_param { adj_x2: true }",
    ),
    "MatMul": (data("2 4 3", "a") + data("2 4 5", "b"), "a b", "matmul_param { transpose_a: true }"),
    "ROIPooling": (IMAGE + REGIONS, "data rois", f"roi_pooling_param {{ {POOLED} }}"),
    "PSROIPooling": (
        data("2 12 5 7") + REGIONS,
        "data rois",
        "psroi_pooling_param { output_dim: 3 group_size: 2 spatial_scale: 0.5 }",
    ),
    "ROIAlign": (IMAGE + REGIONS, "data rois", f"roi_align_param {{ {POOLED} }}"),
    "Proposal": (
        PROPOSED,
        "scores deltas info",
        f'top: "count" proposal_param {{ {ANCHORS} output_actual_rois_num: true }}',
    ),
    "PriorBox": (
        IMAGE + data("2 3 40 56", "image"),
        "data image",
        "prior_box_param { min_size: 8 max_size: 16 aspect_ratio: 2 step: 8 img_h: 40 img_w: 56 variance: 0.2 }",
    ),
}
"""Layers that were not recorded: their inputs, bottoms and parameters."""


def fitting(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random feeds, where regions are regions."""
    (feeds,) = random_feeds(graph, seed)
    if "rois" in feeds:
        feeds["rois"] = np.array([[0, 1, 2, 9, 8], [1, 0, 0, 13, 9], [1, 5, 3, 6, 4]], np.float32)
    if "info" in feeds:
        feeds["info"] = np.array([[48, 64, 1]], np.float32)
    return feeds


@pytest.mark.parametrize("type", LAYERS)
def test_a_layer_that_was_not_recorded_is_the_same_in_a_ge_file(type: str, tmp_path: Path) -> None:
    inputs, bottoms, more = LAYERS[type]
    graph = make_net(tmp_path, inputs + layer("out", type, bottoms, "out", more))
    assert_same(graph, fitting(graph), tmp_path)


DETECTION = data("2 48", "loc") + data("2 36", "conf") + data("1 2 48", "prior")


@pytest.mark.parametrize("tops", ["", 'top: "boxes"'])
def test_detections_are_those_of_caffe_with_their_number_and_without(tops: str, tmp_path: Path) -> None:
    settings = "num_classes: 3 confidence_threshold: 0.1 iou_threshold: 0.4 top_k: 8 code_type: 2"
    last = layer(
        "det", "SSDDetectionOutput", "loc conf prior", "det", f"{tops} ssddetectionoutput_param {{ {settings} }}"
    )
    graph = make_net(tmp_path, DETECTION + last)
    feeds = fitting(graph)
    low = np.random.default_rng(0).uniform(0, 0.5, (12, 2))
    feeds["prior"][0, 0] = np.concatenate([low, low + 0.3], axis=1).reshape(-1)
    feeds["prior"][0, 1] = 0.1
    found = assert_same(graph, feeds, tmp_path)
    assert found[-1].shape[2] > 2


def test_numbers_of_boxes_are_whole_and_may_be_computed_with(tmp_path: Path) -> None:
    text = PROPOSED + layer(
        "out", "Proposal", "scores deltas info", "rois", f'top: "count" proposal_param {{ {ANCHORS} }}'
    ).replace("post_nms_topn: 7", "post_nms_topn: 7 output_actual_rois_num: true")
    graph = make_net(tmp_path, text + layer("half", "Power", "count", "half", "power_param { scale: 0.5 }"))
    assert_same(graph, fitting(graph), tmp_path)
    again = through_a_file(graph, tmp_path)
    assert [value.dtype for value in again.node("out").outputs] == ["float32", "int32"]


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
@pytest.mark.parametrize("everything", [False, True])
def test_a_recurrent_layer_goes_on_where_the_batch_before_ended(kind: str, everything: bool, tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything(kind) if everything else recurrent_net(kind))
    again = through_a_file(graph, tmp_path)
    (made,) = [node for node in again.nodes if node.type == kind]
    assert [value.shape for value in made.outputs][1:] == [(1, *(made.outputs[0].shape or ())[1:])] * (
        2 if kind == "LSTM" else 1
    )
    feeds = random_inputs(graph)
    ours, theirs = Executor(graph), Executor(again)
    for _ in range(2):
        wanted, found = ours.run(feeds), theirs.run(feeds)
        assert_equal(list(found.values()), list(wanted.values()))


def test_inputs_declared_outside_the_layers_have_the_names_of_their_blobs(tmp_path: Path) -> None:
    text = 'input: "a" input: "b" input_shape { dim: 2 dim: 3 } input_shape { dim: 2 dim: 4 }'
    graph = make_net(tmp_path, text + layer("out", "Concat", "a b", "out"))
    again = through_a_file(graph, tmp_path)
    assert [node.name for node in again.nodes if node.type == "Data"] == ["a", "b"]
    assert [node.attrs["index"] for node in again.nodes if node.type == "Data"] == [0, 1]
    assert_same(graph, fitting(graph), tmp_path)


def test_dropout_is_left_out_and_what_swallows_blobs_is_too(tmp_path: Path) -> None:
    text = IMAGE + layer("drop", "Dropout", "data", "drop") + layer("relu", "ReLU", "drop", "relu")
    text += layer("sig", "Sigmoid", "data", "sig") + 'layer { name: "hush" type: "Silence" bottom: "sig" }'
    again = through_a_file(make_net(tmp_path, text), tmp_path)
    assert [node.type for node in again.nodes if node.name != "sig"] == ["Data", "LeakyRelu"]


def attribute(graph: Graph, name: str, attribute: str) -> object:
    return in_ge(graph).node(name).attrs[attribute]


@pytest.mark.parametrize(
    ("field", "ceil_mode"),
    [("", 0), ("round_mode: CEIL", 0), ("round_mode: FLOOR", 1), ("ceil_mode: true", 0), ("ceil_mode: false", 1)],
)
def test_ceil_mode_0_rounds_up_whichever_field_says_it(field: str, ceil_mode: int, tmp_path: Path) -> None:
    more = f"pooling_param {{ kernel_size: 3 stride: 2 {field} }}"
    graph = make_net(tmp_path, data("1 2 6 6") + layer("pool", "Pooling", "data", "pool", more))
    assert attribute(graph, "pool", "ceil_mode") == ceil_mode
    assert_same(graph, fitting(graph), tmp_path)


def test_a_global_pooling_has_a_window_of_1(tmp_path: Path) -> None:
    more = "pooling_param { pool: AVE global_pooling: true }"
    graph = make_net(tmp_path, IMAGE + layer("pool", "Pooling", "data", "pool", more))
    assert (attribute(graph, "pool", "window"), attribute(graph, "pool", "mode")) == ((1, 1), 1)


def test_all_sizes_of_a_slice_are_written(tmp_path: Path) -> None:
    more = 'top: "b" top: "c" slice_param { slice_point: 1 slice_point: 3 }'
    graph = make_net(tmp_path, IMAGE + layer("cut", "Slice", "data", "a", more))
    assert attribute(graph, "cut", "size_splits") == (1, 2, 3)
    assert attribute(graph, "cut", "num_split") == 3


def test_alpha_of_lrn_is_that_of_one_element(tmp_path: Path) -> None:
    more = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    graph = make_net(tmp_path, IMAGE + layer("norm", "LRN", "data", "norm", more))
    assert attribute(graph, "norm", "alpha") == pytest.approx(2e-5)
    assert (attribute(graph, "norm", "depth_radius"), attribute(graph, "norm", "beta")) == (2, 0.75)


def test_a_batch_norm_keeps_the_number_that_divides_its_statistics(tmp_path: Path) -> None:
    graph = make_net(tmp_path, IMAGE + layer("bn", "BatchNorm", "data", "bn"))
    made = through_a_file(graph, tmp_path).node("bn")
    assert {role: array.shape for role, array in made.weights.items()} == {
        "mean": (6,),
        "variance": (6,),
        "momentum": (1,),
    }
    assert made.weights["momentum"] == 2


def test_a_scale_tells_whether_its_factor_is_its_own(tmp_path: Path) -> None:
    own = make_net(tmp_path, IMAGE + layer("out", "Scale", "data", "out", "scale_param { bias_term: true }"))
    assert attribute(own, "out", "scale_from_blob") is True
    assert_same(own, fitting(own), tmp_path)
    given = make_net(
        tmp_path, IMAGE + data("2 6", "by") + layer("out", "Scale", "data by", "out", "scale_param { axis: 0 }")
    )
    assert attribute(given, "out", "scale_from_blob") is False
    assert_same(given, fitting(given), tmp_path)


def test_a_reshape_has_its_dims_as_a_constant_of_int64(tmp_path: Path) -> None:
    more = "reshape_param { shape { dim: 0 dim: -1 } axis: 1 num_axes: 2 }"
    graph = make_net(tmp_path, IMAGE + layer("flat", "Reshape", "data", "flat", more))
    made = through_a_file(graph, tmp_path).node("flat")
    assert (made.weights["shape"].dtype.name, made.weights["shape"].tolist()) == ("int64", [0, -1])
    assert (made.attrs["axis"], made.attrs["num_axes"]) == (1, 2)
    assert_same(graph, fitting(graph), tmp_path)


def test_a_learned_blob_stays_a_constant_that_any_layer_may_read(tmp_path: Path) -> None:
    text = IMAGE + 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 6 } } }'
    text += layer("cut", "Scale", "data p", "cut", "scale_param { axis: 0 }")
    text += layer("flat", "Reduction", "cut", "flat", "reduction_param { axis: 2 }") + layer(
        "sum", "Eltwise", "flat p", "sum"
    )
    graph = make_net(tmp_path, text)
    assert_same(graph, fitting(graph), tmp_path)


def only(graph: Graph) -> str:
    (message,) = refusals(graph)
    return message


def test_a_layer_that_reads_a_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    text = 'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param {'
    text += " batch_size: 2 channels: 3 height: 8 width: 8 } }" + layer("out", "ReLU", "data", "out")
    assert "put an Input layer in its place" in only(make_net(tmp_path, text))


@pytest.mark.parametrize("name", ["conv 1", "Überall", "a:b"])
def test_a_name_that_the_parser_refuses_is_refused(name: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, IMAGE + layer(name, "ReLU", "data", "out"))
    assert "rename it" in only(graph)


def test_an_input_whose_blob_has_such_a_name_is_refused(tmp_path: Path) -> None:
    text = 'input: "a b" input_shape { dim: 2 }' + layer("out", "ReLU", "", "out").replace("top", 'bottom: "a b" top')
    assert "is the input `a b`" in only(make_net(tmp_path, text))


@pytest.mark.parametrize("type", ["Interp", "Sort", "CReLU", "GRU"])
def test_a_layer_that_the_parser_does_not_know_is_refused(type: str, tmp_path: Path) -> None:
    texts = {
        "Interp": IMAGE + layer("x", type, "data", "out", "interp_param { zoom_factor: 2 }"),
        "GRU": recurrent_net(type),
    }
    graph = make_net(tmp_path, texts.get(type, IMAGE + layer("x", type, "data", "out")))
    assert "has no form in GE" in only(graph)


def test_unequal_blocks_and_an_unusual_hswish_are_refused(tmp_path: Path) -> None:
    text = data("2 4 6 4") + layer(
        "a", "PassThrough", "data", "a", "pass_through_param { block_height: 2 block_width: 1 }"
    )
    text += layer("b", "Hswish", "data", "b", "hswish_param { alpha: 0.2 }")
    first, second = refusals(make_net(tmp_path, text))
    assert ("blocks of 2x1" in first, "an `alpha` or `beta` of its own" in second) == (True, True)


def test_layers_behind_a_refused_one_are_not_told_again(tmp_path: Path) -> None:
    text = IMAGE + layer("x", "Interp", "data", "x", "interp_param { zoom_factor: 2 }") + conv("c", "x", 4)
    assert "`x` (Interp)" in only(make_net(tmp_path, text))


def test_nodes_keep_the_names_of_the_layers(tmp_path: Path) -> None:
    graph = make_net(tmp_path, IMAGE + conv("a/b-1_2.c", "data", 4) + layer("out", "ReLU", "a/b-1_2.c", "out"))
    nodes: list[Node] = list(through_a_file(graph, tmp_path).nodes)
    assert [node.name for node in nodes] == ["data", "a/b-1_2.c", "out"]
