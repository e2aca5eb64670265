"""Corrected biases: the quantized layers have the means of the float ones, in order, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.driver.passes import build_pipeline
from amctc.ir import Graph
from amctc.ir.printer import print_graph
from amctc.passes import PIPELINES
from amctc.pipeline.pass_ import Pass
from amctc.policy import Policy
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import copied
from tests.quantized import Feeds, random_feeds, run_passes

CALIBRATED = "annotate-quant,observe-means,quantize-weights,observe,calibrate"
WHOLE = f"{CALIBRATED},correct-bias,quantize-bias,insert-quant"
WITHOUT = "annotate-quant,quantize-weights,observe,calibrate,quantize-bias,insert-quant"
COARSE = "common_config { arq_quantize { channel_wise: false } }"
NET = (
    data("4 3 10 10")
    + conv("a", "data", 8, more="bias_term: false pad: 1")
    + layer("ra", "ReLU", "a", "ra")
    + conv("dw", "ra", 8, type="DepthwiseConv")
    + layer("rd", "ReLU", "dw", "rd")
    + conv("up", "rd", 6, 2, type="Deconvolution")
    + conv("side", "rd", 6, 2, "pad: 1")
    + layer("sum", "Eltwise", "up side", "sum")
    + layer("rs", "ReLU", "sum", "rs")
    + layer("fc", "InnerProduct", "rs", "fc", "inner_product_param { num_output: 5 transpose: true }")
)
LAYERS = ("a", "dw", "up", "side", "fc")


def positive(graph: Graph, seed: int = 0, count: int = 3) -> Sequence[Feeds]:
    """Batches whose mean is not 0, as images' is not."""
    return [{blob: np.abs(array) for blob, array in feeds.items()} for feeds in random_feeds(graph, seed, count)]


def means(graph: Graph, batches: Sequence[Feeds]) -> dict[str, NDArray[np.float64]]:
    """The mean of each channel of what a layer gives, behind its Dequantize where it has one."""
    values = {node.name.removesuffix(".dequant"): node.output for node in graph.nodes if node.outputs}
    executor = Executor(graph, fetch=[values[name] for name in LAYERS])
    runs = [executor.run(feeds) for feeds in batches]
    found = {name: np.stack([run[values[name]] for run in runs]).astype(np.float64) for name in LAYERS}
    return {name: array.mean(axis=tuple(a for a in range(array.ndim) if a != 2)) for name, array in found.items()}


def test_the_mean_error_of_every_channel_goes(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    batches = positive(graph)
    wanted = means(graph, batches)
    usual, corrected = copied(graph), graph
    run_passes(usual, WITHOUT, COARSE, batches)
    run_passes(corrected, WHOLE, COARSE, batches)
    before, after = means(usual, batches), means(corrected, batches)
    for name in LAYERS:
        # What is left is that biases are rounded, here and in the layers before.
        assert np.abs(after[name] - wanted[name]).max() < np.abs(before[name] - wanted[name]).max() / 5, name


def test_a_layer_is_corrected_for_its_input_as_the_corrected_layers_give_it(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    batches = positive(graph)
    at_once = copied(graph)
    run_passes(graph, f"{CALIBRATED},correct-bias", COARSE, batches)
    context = run_passes(at_once, CALIBRATED, COARSE, batches)
    # by hand: each layer alone, with the others as they are by then
    step: Pass = builtin_registry().passes["correct-bias"].load()()
    known = dict(context.means)
    for name in LAYERS:
        context.means.clear()
        context.means[name] = known[name]
        assert step.run(at_once, context)
    for name in LAYERS:
        wanted, found = (each.node(name).weights["bias"].astype(np.float32) for each in (at_once, graph))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_only_biases_change(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    batches = positive(graph)
    before = copied(graph)
    run_passes(before, CALIBRATED, COARSE, batches)
    run_passes(graph, f"{CALIBRATED},correct-bias", COARSE, batches)
    for node in graph.nodes:
        node.weights["bias"] = np.zeros(1, np.float32)
        before.node(node.name).weights["bias"] = np.zeros(1, np.float32)
        assert node.attrs == before.node(node.name).attrs or node.name == "a"
    told = [line for line in print_graph(graph).splitlines() if "correct-bias" not in line and "bias_term" not in line]
    assert told == [line for line in print_graph(before).splitlines() if "bias_term" not in line]


def test_where_memory_is_short_the_first_batches_are_used(tmp_path: Path) -> None:
    # 2 MiB for each batch of input alone
    graph = make_net(tmp_path, data("8 1 256 256") + conv("a", "data", 2, 1))
    batches = positive(graph, count=3)
    short = copied(graph)
    run_passes(short, f"{CALIBRATED},correct-bias{{memory=1}}", COARSE, batches)
    assert "the mean error of 1 batch" in short.node("a").provenance.changes[-1].what
    run_passes(graph, f"{CALIBRATED},correct-bias", COARSE, batches)
    assert "the mean error of 3 batches" in graph.node("a").provenance.changes[-1].what
    assert not np.array_equal(short.node("a").weights["bias"], graph.node("a").weights["bias"])


def test_layers_that_share_a_bias_stay(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("a", "data", 4) + conv("b", "data", 4))
    graph.node("b").weights["bias"] = graph.node("a").weights["bias"]
    context = run_passes(graph, f"{CALIBRATED},correct-bias", COARSE, positive(graph))
    assert {refusal.layer for refusal in context.refusals} == {"a", "b"}
    assert graph.node("b").weights["bias"] is graph.node("a").weights["bias"]


def test_infinite_outputs_are_told(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("a", "data", 4))
    graph.node("a").weights["weight"] = np.full((4, 3, 3, 3), 3e38, np.float32)
    with pytest.raises(DiagnosticError, match="the output of layer `a` holds NaN or Inf") as caught:
        run_passes(graph, f"{CALIBRATED},correct-bias", COARSE, positive(graph))
    assert caught.value.diagnostics[0].code == "AM404"


def test_a_policy_may_ask_for_both_passes() -> None:
    text = 'pass { name: "correct-bias" } pass { name: "observe-means" } pass { name: "equalize-layers" }'
    policy = Policy.from_text(SourceFile("p.cfg", text))
    assert str(build_pipeline("ptq", policy.passes)) == str(build_pipeline("ptq-equalized"))


def test_one_does_not_go_without_the_other() -> None:
    policy = Policy.from_text(SourceFile("p.cfg", 'pass { name: "correct-bias" }'))
    with pytest.raises(DiagnosticError, match="`correct-bias` needs `observe-means` before it"):
        build_pipeline("ptq", policy.passes)


def test_the_pipeline_is_one_of_the_built_in_ones() -> None:
    without = PIPELINES["ptq-equalized"]
    for name in ("equalize-layers,", "observe-means,", "correct-bias,"):
        without = without.replace(name, "")
    assert without == PIPELINES["ptq"]
