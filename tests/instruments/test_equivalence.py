"""`--check-equivalence` catches the pass that lies, at the first layer that differs, and nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.instruments import CheckEquivalence, NotEquivalent
from amctc.ir import Graph
from amctc.passes.fuse_batchnorm import FuseBatchNorm
from amctc.pipeline.pipeline import Pipeline
from tests.e2e.command import MODEL, WEIGHTS
from tests.instruments.passes import Calling, HonestScaling, Idle, Scaling, blocks, run
from tests.nets import conv, data, layer, make_net
from tests.quantized import random_feeds
from tests.shared_files import ASSETS, needs_assets


def refusal(graph: Graph, pipeline: Pipeline, tolerance: float = 1e-4) -> NotEquivalent:
    with pytest.raises(NotEquivalent) as caught:
        run(graph, pipeline, [CheckEquivalence(tolerance)], random_feeds(graph, 1))
    return caught.value


def test_the_first_layer_that_differs_is_named_with_its_place(tmp_path: Path) -> None:
    graph = make_net(tmp_path, blocks(4))
    found = refusal(graph, Pipeline((FuseBatchNorm(), Scaling("b1"), Idle())))
    (told,) = found.diagnostics
    assert (found.number, found.step.name, told.code) == (2, "scaling", "AM530")
    assert "the pass `scaling` claims" in told.message
    assert "the first layer that differs is `b1` (Convolution), in blob `b1`" in told.message
    assert told.span is not None and '"b1"' in told.span.text and told.span.line == 7
    assert told.help is not None and "0.0001" in told.help


def test_the_history_of_a_differing_layer_is_told(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + layer("s", "Scale", "c", "out"))
    found = refusal(graph, Pipeline((FuseBatchNorm(), Scaling("c", 2.0))))
    assert found.diagnostics[0].notes == (
        "`c` has absorbed `s`",
        "fuse-batchnorm: folded Scale `s` into the weights",
        "scaling: bias times 2",
    )


def test_passes_that_keep_their_word_are_left_alone(tmp_path: Path) -> None:
    graph = make_net(tmp_path, blocks(4))
    run(graph, Pipeline((FuseBatchNorm(), Scaling("b1", 1.0))), [CheckEquivalence()], random_feeds(graph, 1))
    real = load_model(MODEL, WEIGHTS)
    run(real, "fuse-batchnorm", [CheckEquivalence()], random_feeds(real, 1))
    assert len(real) < len(load_model(MODEL))


def test_a_pass_without_the_claim_may_change_numbers_and_sets_a_new_beginning(tmp_path: Path) -> None:
    graph = make_net(tmp_path, blocks(3))
    steps = (FuseBatchNorm(), HonestScaling("b1", 3.0), Scaling("b2", 1.0))
    run(graph, Pipeline(steps), [CheckEquivalence()], random_feeds(graph, 1))
    assert refusal(make_net(tmp_path, blocks(3)), Pipeline((*steps, Scaling("b0")))).number == 4


def test_the_tolerance_is_a_part_of_the_largest_magnitude(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4))
    feeds = random_feeds(graph, 1)
    run(graph, Pipeline((Scaling("c", 1.01),)), [CheckEquivalence(0.05)], feeds)
    refusal(graph, Pipeline((Scaling("c", 1.01),)), 1e-5)


def test_nan_and_infinity_are_compared_too(tmp_path: Path) -> None:
    def poison(graph: Graph) -> None:
        graph.node("c").weights["bias"] = np.array([0, np.inf, 0, 0], np.float32)

    graph = make_net(tmp_path, data() + conv("c", "data", 4))
    (told,) = refusal(graph, Pipeline((Calling(poison),))).diagnostics
    assert "is inf at [0, 1, 0, 0]" in told.message
    # What was infinite before may be so afterwards.
    run(graph, Pipeline((Calling(poison),)), [CheckEquivalence()], random_feeds(graph, 1))


def test_a_blob_of_another_shape_is_told(tmp_path: Path) -> None:
    def coarser(graph: Graph) -> None:
        graph.node("p").attrs["pooling_param"] = {"kernel_size": 2, "stride": 2}

    text = data() + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 2 stride: 1 }")
    (told,) = refusal(make_net(tmp_path, text), Pipeline((Calling(coarser),))).diagnostics
    assert "its shape was [2, 3, 7, 7] and is [2, 3, 4, 4]" in told.message


def test_a_network_that_does_not_run_any_more_is_told(tmp_path: Path) -> None:
    def narrower(graph: Graph) -> None:
        graph.node("b1").weights["weight"] = np.zeros((4, 3, 3, 3), np.float32)

    found = refusal(make_net(tmp_path, blocks(2)), Pipeline((Calling(narrower),)))
    assert found.what == "leaves a network that does not run"
    assert found.diagnostics[0].notes


def test_layers_that_no_output_depends_on_may_change(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + conv("d", "c", 4))
    graph.outputs = [graph.node("c").output]
    run(graph, Pipeline((Scaling("d", 9.0),)), [CheckEquivalence()], random_feeds(graph, 1))
    refusal(graph, Pipeline((Scaling("c", 9.0),)))


def test_without_data_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM532"):
        run(make_net(tmp_path, blocks(1)), "fuse-batchnorm", [CheckEquivalence()])


@needs_assets
def test_a_lie_about_a_real_network_is_caught() -> None:
    folder = ASSETS / "caffe/cifar10_resnet20"
    graph = load_model(folder / "deploy.prototxt", folder / "resnet20.caffemodel")
    middle = [node for node in graph.nodes if node.type == "Convolution"][10]

    def shift(graph: Graph) -> None:
        node = graph.node(middle.name)
        node.weights["weight"] = node.weights["weight"].astype(np.float32) * np.float32(1.01)

    found = refusal(graph, Pipeline((FuseBatchNorm(), Calling(shift))))
    assert found.number == 2
    blob = middle.output.blob
    assert f"is `{middle.name}` (Convolution), in blob `{blob}`" in found.diagnostics[0].message
