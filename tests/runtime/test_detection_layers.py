"""Detection layers against their definitions written out in loops. Recorded figures are in test_caffe_golden."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_table
from amctc.runtime.executor import run_graph
from amctc.runtime.hostops.boxes import suppress
from amctc.text.plain import Plain
from tests.runtime.host_layer import infer_layer, layer_of, run_layer
from tests.runtime.nets import random

# -- PriorBox ----------------------------------------------------------------------------------------


def _priors(
    parameter: dict[str, Plain], feature: tuple[int, ...] = (1, 2, 2, 3), image: tuple[int, ...] = (1, 3, 20, 30)
) -> NDArray[Any]:
    graph = layer_of("PriorBox", [feature, image], {"prior_box_param": parameter}).graph
    graph.outputs = [graph.node("layer").output]
    return run_graph(graph, {"in0": random(feature), "in1": random(image)}, ["out0"])["out0"]


def test_sizes_of_priors_lose_their_fractions() -> None:
    np.testing.assert_array_equal(
        _priors({"min_size": (7.9,), "max_size": (12.6,)}), _priors({"min_size": (7.0,), "max_size": (12.0,)})
    )


def test_priors_are_listed_by_row_column_and_kind() -> None:
    found = _priors({"min_size": (4.0,), "max_size": (9.0,), "aspect_ratio": (4.0,), "variance": (0.1, 0.2, 0.3, 0.4)})
    boxes, variances = found.reshape(2, 2, 3, 4, 4)
    for row, column in np.ndindex(2, 3):
        x, y = (column + 0.5) * 10, (row + 0.5) * 10
        sizes = [(4, 4), (6, 6), (8, 2), (2, 8)]
        expected = [((x - w / 2) / 30, (y - h / 2) / 20, (x + w / 2) / 30, (y + h / 2) / 20) for w, h in sizes]
        np.testing.assert_allclose(boxes[row, column], expected, atol=1e-6)
    assert (variances == np.array([0.1, 0.2, 0.3, 0.4], np.float32)).all()


def test_priors_of_an_empty_map_are_none() -> None:
    assert infer_layer("PriorBox", [(1, 2, 0, 3), (1, 3, 8, 8)], {"prior_box_param": {"min_size": (4.0,)}}) == (
        (1, 2, 0),
    )


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({}, "needs a `min_size`"),
        ({"min_size": (0.0,)}, "`min_size` must be positive, not 0"),
        ({"min_size": (math.inf,)}, "`min_size` must be positive, not inf"),
        ({"min_size": (4.0,) * 300}, "`min_size` is given 300 times; at most 256"),
        ({"min_size": (4.0, 5.0), "max_size": (9.0,)}, "one `max_size` for each `min_size`: 2 and 1"),
        ({"min_size": (4.0,), "max_size": (4.0,)}, "`max_size` 4 must be greater than its `min_size` 4"),
        ({"min_size": (4.0,), "aspect_ratio": (0.0,)}, "`aspect_ratio` must be positive"),
        ({"min_size": (4.0,), "variance": (0.1, 0.2)}, "once for all or four times, not 2 times"),
        ({"min_size": (4.0,), "img_size": 3, "img_h": 3}, "`img_size` and `img_h`/`img_w` are mixed"),
        ({"min_size": (4.0,), "img_h": 3}, "`img_w` must be positive, not 0"),
        ({"min_size": (4.0,), "step": math.nan}, "`step` must be positive, not nan"),
    ],
)
def test_what_makes_no_priors_is_refused(parameter: dict[str, Plain], message: str) -> None:
    with pytest.raises(DiagnosticError, match=re.escape(message)):
        infer_layer("PriorBox", [(1, 2, 2, 3), (1, 3, 20, 30)], {"prior_box_param": parameter})


# -- DetectionOutput ---------------------------------------------------------------------------------

SSD: dict[str, Plain] = {"num_classes": 2, "nms_param": {"nms_threshold": 0.5}, "confidence_threshold": 0.1}


def _detect(
    scores: list[list[float]], boxes: list[list[float]], more: dict[str, Plain] | None = None
) -> NDArray[np.float32]:
    """The rows for one image: `boxes` are the priors, which the predictions leave as they are."""
    conf = np.array(scores, np.float32).reshape(1, -1)
    prior = np.array([boxes, np.ones_like(boxes)], np.float32).reshape(1, 2, -1)
    loc = np.zeros((1, len(boxes) * 4), np.float32)
    parameter: dict[str, Plain] = {**SSD, **(more or {})}
    (found,) = run_layer("DetectionOutput", [loc, conf, prior], {"detection_output_param": parameter})
    rows: NDArray[np.float32] = found[0, 0]
    return rows


APART = [[0.0, 0.0, 0.1, 0.1], [0.2, 0.0, 0.3, 0.1], [0.4, 0.0, 0.5, 0.1]]


def test_equal_scores_stay_in_the_order_of_the_priors() -> None:
    found = _detect([[0, 0.5], [0, 0.5], [0, 0.5]], APART)
    np.testing.assert_array_equal(found[:, 3:], np.array(APART, np.float32))


def test_a_score_that_is_not_a_number_is_none() -> None:
    found = _detect([[0, math.nan], [0, 0.5], [0, math.inf]], APART)
    assert found[:, 2].tolist() == [math.inf, 0.5]
    assert _detect([[math.nan, math.nan]] * 3, APART).tolist() == [[0, -1, -1, -1, -1, -1, -1]]


def test_boxes_that_are_not_numbers_end() -> None:
    found = _detect([[0, 0.9], [0, 0.5], [0, 0.4]], [[math.nan] * 4, [math.inf] * 4, APART[2]])
    assert len(found) == 3


def test_only_the_best_of_all_classes_are_kept_by_class() -> None:
    scores = [[0.3, 0.8, 0.2], [0.9, 0.4, 0.5], [0.7, 0.6, 0.1]]
    found = _detect(scores, APART, {"num_classes": 3, "background_label_id": -1, "keep_top_k": 4})
    assert [(row[1], round(float(row[2]), 1)) for row in found] == [(0, 0.9), (0, 0.7), (1, 0.8), (1, 0.6)]


def test_an_image_without_boxes_has_no_row_where_another_has_some() -> None:
    prior = np.array([APART, np.ones_like(APART)], np.float32).reshape(1, 2, -1)
    conf = np.zeros((2, 3, 2), np.float32)
    conf[1, 2, 1] = 0.7
    inputs = [np.zeros((2, 12), np.float32), conf.reshape(2, -1), prior]
    (found,) = run_layer("DetectionOutput", inputs, {"detection_output_param": SSD})
    assert found.shape == (1, 1, 1, 7)
    assert found[0, 0, 0, :2].tolist() == [1, 1]


def test_ssd_detection_output_gives_the_same_rows_and_their_number() -> None:
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 0.5, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, (40, 2))], axis=1)
    prior = np.stack([boxes, np.full_like(boxes, 0.1)]).reshape(1, 2, -1).astype(np.float32)
    inputs = [random((3, 160), 1), rng.uniform(0, 1, (3, 120)).astype(np.float32), prior]
    one: dict[str, Plain] = {
        "num_classes": 3,
        "code_type": 2,
        "keep_top_k": 7,
        "confidence_threshold": 0.3,
        "nms_param": {"nms_threshold": 0.4, "top_k": 20, "eta": 0.9},
    }
    other: dict[str, Plain] = {
        "num_classes": 3,
        "code_type": 2,
        "keep_top_k": 7,
        "confidence_threshold": 0.3,
        "iou_threshold": 0.4,
        "top_k": 20,
        "eta": 0.9,
    }
    (expected,) = run_layer("DetectionOutput", inputs, {"detection_output_param": one})
    counts, found = run_layer("SSDDetectionOutput", inputs, {"ssddetectionoutput_param": other}, tops=2)
    np.testing.assert_array_equal(found, expected)
    assert counts.tolist() == np.bincount(expected[0, 0, :, 0].astype(int), minlength=3).tolist()


def test_an_empty_batch_and_no_priors_give_no_boxes() -> None:
    empty = np.zeros((0, 12), np.float32)
    inputs = [empty, empty[:, :6], np.ones((1, 2, 12), np.float32)]
    assert run_layer("DetectionOutput", inputs, {"detection_output_param": SSD})[0].shape == (1, 1, 0, 7)
    none = np.zeros((2, 0), np.float32)
    huge: dict[str, Plain] = {**SSD, "num_classes": 4_000_000_000}
    inputs = [none, none, np.ones((1, 2, 0), np.float32)]
    (found,) = run_layer("DetectionOutput", inputs, {"detection_output_param": huge})
    assert found[0, 0].tolist() == [[0] + [-1] * 6, [1] + [-1] * 6]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({}, "needs `num_classes`"),
        ({"num_classes": 0}, "`num_classes` must be positive, not 0"),
        ({"num_classes": 4_000_000_000}, "need 12000000000 numbers a sample for the predicted scores"),
        ({"num_classes": 2, "share_location": False}, "need 24 numbers a sample for the predicted boxes"),
        ({"num_classes": 2, "nms_param": {"nms_threshold": -0.1}}, "`nms_threshold` must not be negative"),
        ({"num_classes": 2, "nms_param": {"nms_threshold": math.nan}}, "`nms_threshold` must not be negative"),
        ({"num_classes": 2, "nms_param": {"eta": 0.0}}, "`eta` must lie in (0, 1], not 0"),
    ],
)
def test_what_detects_nothing_is_refused(parameter: dict[str, Plain], message: str) -> None:
    with pytest.raises(DiagnosticError, match=re.escape(message)):
        infer_layer("DetectionOutput", [(1, 12), (1, 6), (1, 2, 12)], {"detection_output_param": parameter})


def test_priors_of_another_form_are_refused() -> None:
    with pytest.raises(DiagnosticError, match="third input must be the boxes of PriorBox"):
        infer_layer("DetectionOutput", [(1, 12), (1, 6), (1, 12)], {"detection_output_param": SSD})
    with pytest.raises(DiagnosticError, match="`code_type` must be 1"):
        other: dict[str, Plain] = {"num_classes": 2, "code_type": 4}
        infer_layer("SSDDetectionOutput", [(1, 12), (1, 6), (1, 2, 12)], {"ssddetectionoutput_param": other})


def test_huge_limits_reserve_nothing() -> None:
    parameter: dict[str, Plain] = {**SSD, "keep_top_k": 2**31 - 1, "nms_param": {"top_k": 2**31 - 1}}
    assert infer_layer("DetectionOutput", [(1, 12), (1, 6), (1, 2, 12)], {"detection_output_param": parameter}) == (
        (1, 1, 3, 7),
    )


# -- suppression, Nms, Proposal ----------------------------------------------------------------------


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


def _kept(boxes: NDArray[Any], threshold: float, eta: float = 1.0) -> list[int]:
    """Every box against every kept one, the threshold shrinking as Caffe shrinks it."""
    kept: list[int] = []
    for index in range(len(boxes)):
        if all(_overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


def _boxes(count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(2, 15, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize(("threshold", "eta"), [(0.3, 1.0), (0.0, 1.0), (0.9, 0.8), (1.0, 1.0)])
def test_suppression_compares_every_box_with_every_kept_one(threshold: float, eta: float) -> None:
    boxes = _boxes(120, 3)
    assert suppress(boxes, threshold, eta=eta) == _kept(boxes, threshold, eta)
    assert suppress(boxes, threshold, most=5, eta=eta) == _kept(boxes, threshold, eta)[:5]


@pytest.mark.parametrize("lead", [(), (1,)])
def test_nms_takes_boxes_by_falling_score(lead: tuple[int, ...]) -> None:
    boxes, scores = _boxes(50, 4), np.random.default_rng(4).uniform(-1, 1, 50).astype(np.float32)
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] > 0.2]
    expected = [order[i] for i in _kept(boxes[order], 0.25)][:6]
    parameter: dict[str, Plain] = {"nms_threshold": 0.25, "score_threshold": 0.2, "top_k": 6}
    found, best = run_layer("Nms", [boxes.reshape(*lead, 50, 4), scores], {"nms_param": parameter}, tops=2)
    np.testing.assert_array_equal(found, boxes[expected].reshape(*lead, -1, 4))
    np.testing.assert_array_equal(best, scores[expected])


def test_nms_of_nothing_and_of_scores_that_are_not_numbers() -> None:
    none = run_layer("Nms", [np.zeros((0, 4), np.float32), np.zeros(0, np.float32)], {})
    assert none[0].shape == (0, 4)
    assert run_layer("Nms", [_boxes(3, 0), np.full(3, np.nan, np.float32)], {})[0].shape == (0, 4)


def test_nms_wants_a_score_for_each_box() -> None:
    with pytest.raises(DiagnosticError, match="5 boxes need as many scores; the second input has the shape 4"):
        infer_layer("Nms", [(5, 4), (4,)], {})
    with pytest.raises(DiagnosticError, match="must be boxes, Nx4 or 1xNx4, not 5x3"):
        infer_layer("Nms", [(5, 3), (5,)], {})


REGIONS: dict[str, Plain] = {"feat_stride": 8.0, "base_size": 8.0, "min_size": 1.0, "ratio": (1.0,), "scale": (8.0,)}


def test_an_anchor_that_is_not_moved_is_a_region() -> None:
    scores, info = np.zeros((1, 2, 2, 3), np.float32), np.array([[40, 60, 1]], np.float32)
    scores[0, 1] = [[0.9, 0.1, 0.2], [0.3, 0.4, 0.5]]
    rois, best = run_layer(
        "Proposal", [scores, np.zeros((1, 4, 2, 3), np.float32), info], {"proposal_param": REGIONS}, tops=2
    )
    np.testing.assert_allclose(best, [0.9, 0.5, 0.4, 0.3, 0.2, 0.1])
    np.testing.assert_array_equal(rois[:2], [[0, 0, 0, 8, 8], [0, 16, 8, 24, 16]])


def test_default_anchors_are_multiples_of_the_base() -> None:
    parameter: dict[str, Plain] = {"base_size": 16.0}
    assert infer_layer("Proposal", [(2, 18, 4, 5), (2, 36, 4, 5), (1, 3)], {"proposal_param": parameter}, 2) == (
        (360, 5),
        (360,),
    )


def test_the_second_top_may_count_the_regions() -> None:
    inputs = [random((2, 2, 2, 3)), random((2, 4, 2, 3)), np.array([[40, 60, 1, 1]] * 2, np.float32)]
    parameter: dict[str, Plain] = {**REGIONS, "output_actual_rois_num": True, "post_nms_topn": 4}
    rois, counts = run_layer("Proposal", inputs, {"proposal_param": parameter}, tops=2)
    assert counts.tolist() == np.bincount(rois[:, 0].astype(int), minlength=2).tolist()
    assert counts.max() <= 4


def test_no_images_have_no_regions() -> None:
    inputs = [np.zeros((0, *rest), np.float32) for rest in ((2, 2, 3), (4, 2, 3), (3,))]
    rois, best = run_layer("Proposal", inputs, {"proposal_param": REGIONS}, tops=2)
    assert rois.shape == (0, 5) and best.shape == (0,)


def test_wild_predictions_end_in_regions_inside_the_image() -> None:
    deltas = random((1, 4, 2, 3)) * 1000
    rois = run_layer(
        "Proposal",
        [random((1, 2, 2, 3)), deltas, np.array([[40, 60, 1]], np.float32)],
        {"proposal_param": REGIONS},
    )[0]
    assert rois[:, 1:].min() >= 0
    assert rois[:, [1, 3]].max() <= 59
    assert rois[:, [2, 4]].max() <= 39


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"scale": (1.0, 2.0)}, "2 anchors need 4 channels of scores, not 2"),
        ({"scale": (0.0,)}, "`scale` must lie between 1e-6 and 1e6, not be 0"),
        ({"ratio": (1.0,) * 999}, "`ratio` is given 999 times"),
        ({"post_nms_topn": 0}, "`post_nms_topn` must be positive, not 0"),
        ({"nms_thresh": 0.5, "iou_threshold": 0.5}, "are one parameter"),
        ({"nms_thresh": math.nan}, "`nms_thresh` must not be negative, not nan"),
        ({"min_size": -1.0}, "`min_size` must not be negative"),
    ],
)
def test_what_proposes_nothing_is_refused(parameter: dict[str, Plain], message: str) -> None:
    with pytest.raises(DiagnosticError, match=re.escape(message)):
        infer_layer("Proposal", [(1, 2, 2, 3), (1, 4, 2, 3), (1, 3)], {"proposal_param": {**REGIONS, **parameter}})


# -- pooling of regions ------------------------------------------------------------------------------


def _regions(count: int, images: int, seed: int) -> NDArray[np.float32]:
    """Regions of an image of 52x64 pixels, some reaching beyond it."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-5, 40, (count, 2))], axis=1)
    return np.insert(boxes, 0, rng.integers(0, images, count), axis=1).astype(np.float32)


def _round(x: float) -> int:
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def _bin(start: float, size: float, index: int, count: int, limit: int, shift: int = 0) -> range:
    first = math.floor(np.float32(np.float32(index) * np.float32(size / count) + start)) + shift
    last = math.ceil(np.float32(np.float32(index + 1) * np.float32(size / count) + start)) + shift
    return range(min(max(first, 0), limit), min(max(last, 0), limit))


def test_roi_pooling_takes_the_largest_of_each_bin() -> None:
    x, rois = random((2, 3, 13, 16)), _regions(20, 2, 1)
    parameter: dict[str, Plain] = {"pooled_h": 3, "pooled_w": 2, "spatial_scale": 0.25}
    (found,) = run_layer("ROIPooling", [x, rois], {"roi_pooling_param": parameter})
    assert found.shape == (20, 3, 3, 2)
    for number, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (_round(float(value) * 0.25) for value in box)
        wide, high = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for channel, i, j in np.ndindex(3, 3, 2):
            rows, columns = _bin(0, high, i, 3, 13, y1), _bin(0, wide, j, 2, 16, x1)
            part = x[int(image), channel][np.ix_(rows, columns)]
            assert found[number, channel, i, j] == part.max(initial=-math.inf if part.size else 0)


def test_roi_pooling_scales_each_axis_by_its_own() -> None:
    x, rois = random((1, 1, 8, 8)), np.array([[0, 0, 0, 14, 7]], np.float32)
    parameter: dict[str, Plain] = {"pooled_h": 1, "pooled_w": 1, "spatial_scale_h": 0.25, "spatial_scale_w": 0.5}
    (found,) = run_layer("ROIPooling", [x, rois], {"roi_pooling_param": parameter})
    assert found.item() == x[0, 0, :3, :8].max()


def test_psroi_pooling_takes_each_bin_from_channels_of_its_own() -> None:
    x, rois = random((2, 2 * 3 * 3, 13, 16)), _regions(20, 2, 2)
    parameter: dict[str, Plain] = {"output_dim": 2, "group_size": 3, "spatial_scale": 0.25}
    (found,) = run_layer("PSROIPooling", [x, rois], {"psroi_pooling_param": parameter})
    assert found.shape == (20, 2, 3, 3)
    for number, (image, *box) in enumerate(rois):
        x1, y1 = (_round(float(value)) * 0.25 for value in box[:2])
        x2, y2 = ((_round(float(value)) + 1) * 0.25 for value in box[2:])
        wide, high = max(x2 - x1, 0.1), max(y2 - y1, 0.1)
        for channel, i, j in np.ndindex(2, 3, 3):
            rows, columns = _bin(y1, high, i, 3, 13), _bin(x1, wide, j, 3, 16)
            part = x[int(image), (channel * 3 + i) * 3 + j][np.ix_(rows, columns)]
            expected = part.astype(np.float64).mean() if part.size else 0
            assert abs(found[number, channel, i, j] - expected) <= 2e-6


def _bilinear(image: NDArray[Any], y: float, x: float) -> float:
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
    lower = image[below, left] * (1 - x + left) + image[below, right] * (x - left)
    return float(upper * (1 - y + top) + lower * (y - top))


@pytest.mark.parametrize(("ratio", "mode"), [(-1, 0), (2, 0), (-1, 1), (3, 1)])
def test_roi_align_is_the_mean_of_bilinear_samples(ratio: int, mode: int) -> None:
    x, rois = random((2, 2, 13, 16)), _regions(12, 2, 3)
    parameter: dict[str, Plain] = {
        "pooled_h": 3,
        "pooled_w": 2,
        "spatial_scale": 0.25,
        "sampling_ratio": ratio,
        "roi_end_mode": mode,
    }
    (found,) = run_layer("ROIAlign", [x, rois], {"roi_align_param": parameter})
    assert found.shape == (12, 2, 3, 2)
    for number, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (float(v) * 0.25 for v in (box[0], box[1], box[2] + mode, box[3] + mode))
        wide, high = max(x2 - x1, 1) / 2, max(y2 - y1, 1) / 3
        down, across = (ratio, ratio) if ratio > 0 else (math.ceil(high), math.ceil(wide))
        for channel, i, j in np.ndindex(2, 3, 2):
            samples = [
                _bilinear(
                    x[int(image), channel], y1 + (i + (p + 0.5) / down) * high, x1 + (j + (q + 0.5) / across) * wide
                )
                for p, q in np.ndindex(down, across)
            ]
            assert abs(found[number, channel, i, j] - np.mean(samples)) <= 1e-5


POOLINGS: dict[str, dict[str, dict[str, Plain]]] = {
    "ROIPooling": {"roi_pooling_param": {"pooled_h": 2, "pooled_w": 2}},
    "PSROIPooling": {"psroi_pooling_param": {"output_dim": 1, "group_size": 2, "spatial_scale": 1.0}},
    "ROIAlign": {"roi_align_param": {"pooled_h": 2, "pooled_w": 2}},
}


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_region_of_no_image_is_an_error_of_the_layer(kind: str) -> None:
    x = random((2, 4, 5, 5))
    for bad in ([2, 0, 0, 4, 4], [-1, 0, 0, 4, 4], [0, 0, math.nan, 4, 4], [math.nan, 0, 0, 4, 4]):
        rois = np.array([[0, 0, 0, 4, 4], bad], np.float32)
        with pytest.raises(DiagnosticError, match=rf"AM432.*`layer` \({kind}\): region 1 is \("):
            run_layer(kind, [x, rois], POOLINGS[kind])


@pytest.mark.parametrize("kind", POOLINGS)
def test_a_region_far_larger_than_the_image_costs_no_more(kind: str) -> None:
    rois = np.array(
        [[0, -1e30, -1e30, 1e30, 1e30], [1, 1e9, 1e9, 1e9, 1e9], [0, -math.inf, 0, math.inf, 3]], np.float32
    )
    (found,) = run_layer(kind, [random((2, 4, 5, 5)), rois], POOLINGS[kind])
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()


@pytest.mark.parametrize("kind", POOLINGS)
def test_no_regions_and_an_empty_map_are_pooled(kind: str) -> None:
    (found,) = run_layer(kind, [random((2, 4, 5, 5)), np.zeros((0, 5, 1, 1), np.float32)], POOLINGS[kind])
    assert found.shape[0] == 0
    (found,) = run_layer(kind, [random((2, 4, 0, 5)), np.array([[0, 0, 0, 4, 4]], np.float32)], POOLINGS[kind])
    assert (found == 0).all()


@pytest.mark.parametrize("kind", POOLINGS)
def test_only_the_feature_map_is_quantized(kind: str) -> None:
    row = op_table()[f"caffe.{kind}"]
    node = layer_of(kind, [(2, 4, 5, 5), (3, 5)], POOLINGS[kind])
    assert row.quantizable is not None
    assert row.quantizable.on_by_default
    assert row.data_inputs(node) == (0,)


def test_of_nms_only_the_scores_are_quantized() -> None:
    assert op_table()["caffe.Nms"].data_inputs(layer_of("Nms", [(3, 4), (3,)], {})) == (1,)


@pytest.mark.parametrize(
    ("kind", "field", "more", "message"),
    [
        ("ROIPooling", "roi_pooling_param", {"pooled_h": 0}, "`pooled_h` must lie between 1 and 1024, not be 0"),
        ("ROIPooling", "roi_pooling_param", {"pooled_w": 4_000_000_000}, "not be 4000000000"),
        ("ROIPooling", "roi_pooling_param", {"spatial_scale": math.nan}, "`spatial_scale` must be positive"),
        ("PSROIPooling", "psroi_pooling_param", {"group_size": 3}, "need 9 channels, the input has 4"),
        ("PSROIPooling", "psroi_pooling_param", {"group_size": 2**31 - 1}, "`group_size` must lie between"),
        ("PSROIPooling", "psroi_pooling_param", {"output_dim": 0}, "`output_dim` must be positive"),
        ("ROIAlign", "roi_align_param", {"sampling_ratio": 2**31 - 1}, "`sampling_ratio` must be at most 128"),
        ("ROIAlign", "roi_align_param", {"roi_end_mode": 2}, "`roi_end_mode` must be 0 or 1, not 2"),
    ],
)
def test_what_pools_no_region_is_refused(kind: str, field: str, more: dict[str, Plain], message: str) -> None:
    with pytest.raises(DiagnosticError, match=re.escape(message)):
        infer_layer(kind, [(2, 4, 5, 5), (3, 5)], {field: {**POOLINGS[kind][field], **more}})


def test_regions_of_another_form_are_refused() -> None:
    with pytest.raises(DiagnosticError, match="must be regions"):
        infer_layer("ROIPooling", [(2, 4, 5, 5), (3, 4)], POOLINGS["ROIPooling"])
