"""Weights that are quantized before BatchNorm layers are folded: what is folded computes what it computed before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.driver.passes import build_pipeline, usual_pipeline
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.folding import negated_channels
from amctc.policy import Policy, ResolvedPolicy, resolve
from amctc.source import SourceFile
from tests.nets import conv, data, layer, make_net
from tests.quantized import outputs, random_feeds, run_passes

QUANTIZED = "annotate-quant,quantize-weights"
SNQ = 'common_config { snq_quantize { init_algo: "optimal" } }'
CHAIN = (
    layer("bn", "BatchNorm", "c", "c", "batch_norm_param { use_global_stats: true }")
    + layer("scale", "Scale", "c", "c", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "c", "c")
)
LAYERS = {
    "convolution": conv("c", "data", 4),
    "depthwise": conv("c", "data", 3, type="DepthwiseConv"),
    "deconvolution": conv("c", "data", 5, type="Deconvolution", more="bias_term: false"),
    "grouped deconvolution": conv("c", "data", 6, type="Deconvolution", more="group: 3"),
}


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("policy", ["", SNQ, "common_config { arq_quantize { channel_wise: false } }"])
def test_folding_into_integers_changes_no_number(name: str, policy: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + LAYERS[name] + CHAIN)
    count = graph.node("scale").weights["scale"].size
    graph.node("scale").weights["scale"] = np.resize(np.array([0.5, -1.5, 0.0, 2.0], np.float32), count)
    weight = graph.node("c").weights["weight"].astype(np.float32)
    # The negative side is the larger one.
    graph.node("c").weights["weight"] = np.where(weight > 0, 1, 4).astype(np.float32) * weight
    (feeds,) = random_feeds(graph, seed=1)
    run_passes(graph, QUANTIZED, policy)
    before = outputs(graph, feeds)["c"]
    context = run_passes(graph, "fuse-batchnorm", policy)
    assert [node.name for node in graph.nodes] == ["data", "c", "relu"]
    assert not context.refusals
    assert graph.node("c").weights["weight"].dtype == np.int8
    after = outputs(graph, feeds)["c"]
    assert np.abs(after - before).max() <= 4e-6 * np.abs(before).max()


def test_an_inner_product_keeps_its_batch_norm(tmp_path: Path) -> None:
    inner = layer("c", "InnerProduct", "data", "c", "inner_product_param { num_output: 7 }")
    graph = make_net(tmp_path, data() + inner + CHAIN)
    run_passes(graph, QUANTIZED)
    context = run_passes(graph, "fuse-batchnorm")
    assert [node.name for node in graph.nodes] == ["data", "c", "bn", "scale", "relu"]
    assert "may not have a scale for each output channel" in next(iter(context.refusals)).reason


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_scales_leave_out_what_could_not_be_negated(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    random = np.random.default_rng(seed)
    graph = make_net(tmp_path_factory.mktemp("net"), data() + conv("c", "data", 4) + CHAIN)
    graph.node("c").weights["weight"] = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    factors = random.normal(size=4).astype(np.float32)
    graph.node("scale").weights["scale"] = factors
    policy = resolve(Policy(), graph)
    negated = negated_channels(graph.node("c"), Context(policy))
    wanted = factors < 0
    assert (np.zeros(4, bool) if negated is None else negated).tolist() == wanted.tolist()
    run_passes(graph, QUANTIZED)
    rows = graph.node("c").weights["weight"].reshape(4, -1).astype(int)
    assert (rows[wanted] > -128).all()
    assert (np.abs(rows).max(axis=1) >= 127).all()


@pytest.mark.parametrize("policy", ["do_fusion: false", 'skip_fusion_layers: "c"', 'skip_fusion_layers: "scale"'])
def test_what_is_not_folded_does_not_change_the_grid(policy: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + CHAIN)
    graph.node("scale").weights["scale"] = np.full(4, -1, np.float32)
    resolved = resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
    assert negated_channels(graph.node("c"), Context(resolved)) is None


def test_the_policy_chooses_the_pipeline(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + CHAIN)
    assert usual_pipeline(_resolved("", graph)) == "ptq"
    assert usual_pipeline(_resolved(SNQ, graph)) == "ptq-nonuniform"
    assert usual_pipeline(_resolved("update_bn: true", graph)) == "ptq-nonuniform"
    skipped = f'{SNQ} override_layer_configs {{ layer_name: "c" calibration_config {{ arq_quantize {{ }} }} }}'
    assert usual_pipeline(_resolved(skipped, graph)) == "ptq"


@pytest.mark.parametrize(
    ("pipeline", "code"),
    [
        (
            "annotate-quant,quantize-weights,quantize-weights,annotate-quant,observe,calibrate,quantize-bias,insert-quant",
            "",
        ),
        (
            "fuse-batchnorm,annotate-quant,quantize-weights,update-batchnorm,observe,calibrate,quantize-bias,insert-quant",
            "AM504",
        ),
        ("annotate-quant,quantize-weights,observe,calibrate,quantize-bias,quantize-bias,insert-quant", "AM505"),
        (
            "annotate-quant,quantize-weights,observe,fuse-batchnorm,annotate-quant,calibrate,quantize-bias,insert-quant",
            "AM504",
        ),
    ],
)
def test_only_some_passes_may_stand_in_a_pipeline_twice(pipeline: str, code: str) -> None:
    if not code:
        assert str(build_pipeline(pipeline)) == pipeline
        return
    with pytest.raises(DiagnosticError) as refusal:
        build_pipeline(pipeline)
    assert refusal.value.diagnostics[0].code == code


def _resolved(policy: str, graph: Graph) -> ResolvedPolicy:
    return resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
