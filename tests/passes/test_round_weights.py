"""What round-weights does without torch: who asks for it, what it leaves alone, and rounding to the nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc import torch_missing
from amctc.diagnostics import DiagnosticError
from amctc.driver.passes import build_pipeline, pipeline_of_rules, usual_pipeline, without_rounding
from amctc.ir import Graph
from amctc.ir.copying import copy_graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.passes import PIPELINES
from amctc.passes.round_weights import RoundWeights
from amctc.pipeline.context import Context
from amctc.policy import Policy, resolve
from amctc.policy.settings import ADA
from amctc.source import SourceFile
from tests.ge_graphs import GeNet
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import copied
from tests.quantized import random_feeds, run_passes

NET = (
    data("4 3 6 6")
    + conv("a", "data", 8, more="pad: 1")
    + layer("relu", "ReLU", "a", "relu")
    + conv("up", "relu", 6, 2, type="Deconvolution")
    + layer("fc", "InnerProduct", "up", "fc", "inner_product_param { num_output: 5 }")
)
NEAREST = "common_config { ada_quantize { num_iteration: 0 } }"
LEARNED = "common_config { ada_quantize { num_iteration: 7 } }"
FRONT = "annotate-quant,round-weights,quantize-weights"


def rules(text: str) -> Policy:
    return Policy.from_text(SourceFile("policy.cfg", text))


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return make_net(tmp_path, NET)


def test_no_iterations_give_what_quantize_weights_gives(graph: Graph) -> None:
    nearest, usual = copied(graph), copied(graph)
    run_passes(nearest, FRONT, NEAREST)
    run_passes(usual, "annotate-quant,quantize-weights", "common_config { arq_quantize { } }")
    for name in ("a", "up", "fc"):
        mine, other = nearest.node(name), usual.node(name)
        assert mine.weights["weight"].dtype == np.int8
        assert np.array_equal(mine.weights["weight"], other.weights["weight"])
        assert mine.quant is not None and other.quant is not None
        assert mine.quant.weight is not None and other.quant.weight is not None
        assert np.array_equal(mine.quant.weight.scales["weight"], other.quant.weight.scales["weight"])
        assert [change.by for change in mine.provenance.changes] == ["annotate-quant", "round-weights"]


def test_layers_that_nobody_asks_for_are_left_alone(graph: Graph) -> None:
    context = run_passes(graph, "annotate-quant,round-weights", "common_config { arq_quantize { } }")
    assert not context.refusals
    assert all(node.weights["weight"].dtype == np.float32 for node in graph.nodes if "weight" in node.weights)


def test_what_cannot_be_learned_is_refused_and_rounded_to_the_nearest(graph: Graph) -> None:
    shared = graph.node("a")
    shared.weights["again"] = shared.weights["weight"]
    context = run_passes(graph, FRONT, NEAREST)
    assert [(each.by, each.layer) for each in context.refusals] == [("round-weights", "a")]
    assert [each.reason for each in context.refusals] == ["it shares its weights with another layer"]
    assert [change.by for change in graph.node("a").provenance.changes] == ["annotate-quant", "quantize-weights"]


def test_learning_without_torch_is_refused_with_what_to_do(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_missing, "find_spec", lambda name: None)
    with pytest.raises(DiagnosticError) as caught:
        run_passes(graph, FRONT, LEARNED, random_feeds(graph, 0, 1))
    (found,) = caught.value.diagnostics
    assert found.code == "AM900" and found.message.startswith("learned rounding (`ada_quantize`) needs torch")
    assert found.help is not None and "amctc[torch]" in found.help


def test_a_policy_that_asks_takes_the_pipeline(graph: Graph) -> None:
    for text, pipeline in ((LEARNED, "ptq-rounded"), ("", "ptq"), ("common_config { ifmr_quantize { } }", "ptq")):
        assert pipeline_of_rules(rules(text)) == pipeline
        assert usual_pipeline(resolve(rules(text), graph)) == pipeline
    overruled = "".join(
        f" override_layer_configs {{ layer_name: '{name}' calibration_config {{ arq_quantize {{ }} }} }}"
        for name in ("a", "up", "fc")
    )
    assert usual_pipeline(resolve(rules(LEARNED + overruled), graph)) == "ptq"


def test_a_policy_may_name_the_pass_and_its_options() -> None:
    named = rules('pass { name: "round-weights" option { key: "samples" value: "8" } }')
    joined = str(build_pipeline("ptq", named.passes))
    assert joined == PIPELINES["ptq-rounded"].replace("round-weights", "round-weights{samples=8}")


def test_a_pipeline_without_the_pass_is_warned_of(graph: Graph) -> None:
    policy = resolve(rules(LEARNED), graph)
    found = without_rounding(build_pipeline("ptq"), policy)
    assert found is not None and found.code == "AM490"
    assert found.span is not None and found.span.line == 1
    assert without_rounding(build_pipeline("ptq-rounded"), policy) is None
    assert without_rounding(build_pipeline("ptq"), resolve(rules(""), graph)) is None


def test_the_progress_counts_the_iterations_of_all_layers(graph: Graph) -> None:
    assert RoundWeights().batches(Context(resolve(rules(LEARNED), graph))) == 3 * 7
    some = f"{LEARNED} skip_layers: 'a'"
    assert RoundWeights().batches(Context(resolve(rules(some), graph))) == 2 * 7


def test_the_annotation_says_how_and_is_read_back(graph: Graph) -> None:
    text = "common_config { ada_quantize { num_iteration: 7 reg_param: 0.5 beta_range_start: 9 warm_start: 0.25 } }"
    run_passes(graph, "annotate-quant", text)
    again = parse_graph(SourceFile("graph", print_graph(graph)))
    for net in (graph, again):
        quant = net.node("a").quant
        assert quant is not None and quant.weight is not None and quant.weight.rounding is not None
        how = quant.weight.rounding
        assert quant.weight.algorithm == ADA
        assert (how.num_iteration, how.reg_param, how.beta_range, how.warm_start) == (7, 0.5, (9, 2), 0.25)
    assert again == graph


def test_layers_of_ge_may_be_asked_for() -> None:
    net = GeNet()
    graph = net.finish(net.matmul(net.full(net.relu(net.conv(net.data(1, 4, 5, 5), 6)), 5), 3))
    policy = resolve(Policy.from_text(SourceFile("policy.cfg", NEAREST), "pytorch"), graph)
    assert usual_pipeline(policy) == "ptq-rounded"
    run_passes(graph, FRONT, NEAREST)
    changed = {node.type: [change.by for change in node.provenance.changes] for node in graph.nodes}
    for type in ("Conv2D", "FullyConnection", "MatMulV2"):
        assert changed[type] == ["annotate-quant", "round-weights"]


def test_a_recurrent_layer_of_caffe_gets_the_usual_algorithm(tmp_path: Path) -> None:
    net = data("3 1 4") + data("3 1", "cont")
    net += layer("lstm", "LSTM", "data cont", "lstm", "recurrent_param { num_output: 2 }")
    weights = resolve(rules(NEAREST), make_net(tmp_path, net)).layers["lstm"].weights
    assert weights is not None and (weights.algorithm.value, weights.rounding) == ("arq_quantize", None)


def test_a_copy_of_a_graph_is_equal_and_has_weights_of_its_own(graph: Graph) -> None:
    run_passes(graph, "annotate-quant,quantize-weights", "")
    copy = copy_graph(graph)
    assert copy == graph and print_graph(copy) == print_graph(graph)
    assert copy.node("a").weights["weight"] is graph.node("a").weights["weight"]
    copy.node("a").weights["weight"] = np.zeros((1,), np.float32)
    copy.node("a").quant = None
    assert graph.node("a").weights["weight"].dtype == np.int8 and graph.node("a").quant is not None
