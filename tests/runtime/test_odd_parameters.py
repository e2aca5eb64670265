"""Parameters that Caffe takes and hardly anybody gives: computed as the formula says, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import infer_shapes
from amctc.ir import Graph
from amctc.runtime.executor import run_graph
from amctc.text.plain import Plain
from tests.runtime.nets import add_input, one_layer, random


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.75), (0.5, 0.0), (0.5, -1.5), (0.0, 0.75), (-0.125, 1.0)])
def test_an_lrn_across_channels_takes_any_alpha_and_beta(alpha: float, beta: float) -> None:
    parameter = {"lrn_param": {"local_size": 3, "alpha": alpha, "beta": beta, "k": 2.0}}
    x = random((2, 5, 3, 4))
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    sums = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    found = run_graph(one_layer("LRN", x.shape, parameter), {"data": x})["out"]
    np.testing.assert_allclose(found, x * (2 + alpha / 3 * sums) ** -beta, rtol=2e-6)


def test_a_size_of_0_does_not_make_other_sizes_lawful() -> None:
    graph = one_layer("ReLU", (0, 2**31 - 1, 2**31 - 1))
    with pytest.raises(DiagnosticError, match="is more than the 2147483647 Caffe allows"):
        infer_shapes(graph)


def test_figures_that_leave_float32_are_results_and_no_warnings() -> None:
    parameter: dict[str, Plain] = {"min_size": (4.0,), "step": 3e38}
    graph = one_layer("ReLU", (1, 2, 3, 3))
    image = graph.node("data").output
    box = graph.add(
        "box", "caffe.PriorBox", [graph.node("layer").output, image], ["box"], attrs={"prior_box_param": parameter}
    )
    graph.outputs = [box.output]
    assert np.isinf(run_graph(graph, {"data": random((1, 2, 3, 3))})["box"]).any()


def test_a_slice_into_thousands_of_tops_is_one_node() -> None:
    count = 3000
    graph = Graph("net")
    given = add_input(graph, (2, count))
    cut = graph.add("cut", "caffe.Slice", [given.output], [f"part{index}" for index in range(count)])
    graph.outputs = [*cut.outputs]
    x = random((2, count))
    found = run_graph(graph, {"data": x})
    np.testing.assert_array_equal(np.concatenate([found[value.blob] for value in cut.outputs], axis=1), x)


def test_regions_far_outside_the_map_are_pooled_as_nothing() -> None:
    graph = Graph("net")
    inputs = [add_input(graph, (1, 2, 4, 4)).output, add_input(graph, (1, 5), "regions").output]
    align = graph.add(
        "align",
        "caffe.ROIAlign",
        inputs,
        ["top"],
        attrs={"roi_align_param": {"pooled_h": 2, "pooled_w": 2, "spatial_scale": 3e38}},
    )
    graph.outputs = [align.output]
    feeds = {"data": random((1, 2, 4, 4)), "regions": np.array([[0, 9, 9, 99, 99]], np.float32)}
    assert (run_graph(graph, feeds, ["top"])["top"] == 0).all()
