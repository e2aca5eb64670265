"""Policies of KV-cache quantization on a model: who gets what, by which rule, and names that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.ir import Graph
from amctc.policy import Policy, ResolvedPolicy, explain, explain_layers, explanation, resolve, to_json
from amctc.quant.hfmg import HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.source import SourceFile
from tests.kv_cache_nets import attention, made_up
from tests.onnx_nets import load
from tests.policy.texts import cfg, layer_config

POLICY = """\
activation_offset: false
kv_cache_quant_config {
    quant_layers: ["v_proj", "k_proj"]
    calibration_config { hfmg_quantize { asymmetric: true quant_granularity: per_channel } }
}
override_layers_configs { layer_name: "v_proj" kv_data_quant_config { ifmr_quantize { search_step: 0.02 } } }
override_layers_configs { layer_name: "o_proj" }
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return load(attention(made_up()), tmp_path_factory.mktemp("net"))


def resolved(text: str, graph: Graph) -> ResolvedPolicy:
    return resolve(cfg(text), graph)


def refusal(text: str, graph: Graph) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        resolved(text, graph)
    return caught.value.diagnostics


def test_an_override_is_taken_as_a_whole_but_for_the_offset(graph: Graph) -> None:
    found = resolved(POLICY, graph).kv_cache
    assert list(found) == ["k_proj", "v_proj", "o_proj"]  # the model's order
    key, value, out = found.values()
    assert (key.output.settings, key.per_channel) == (HfmgSettings(with_offset=True), True)
    assert (value.output.settings, value.per_channel) == (IfmrSettings(with_offset=True, search_step=0.02), False)
    assert (out.output.settings, out.per_channel) == (IfmrSettings(with_offset=True), False)
    assert str(value.rule) == "override_layers_configs (quant.cfg:6)"
    assert [str(lost) for lost in value.lost] == [
        "kv_cache_quant_config quant.cfg:3 lost to override_layers_configs quant.cfg:6"
    ]


def test_where_nobody_says_it_activation_offset_holds(graph: Graph) -> None:
    text = 'activation_offset: false kv_cache_quant_config { quant_layers: "k_proj" }'
    (found,) = resolved(text, graph).kv_cache.values()
    assert found.output.settings == IfmrSettings(with_offset=False)
    assert not found.own_offset


def test_the_layer_config_gives_the_same_again(graph: Graph) -> None:
    first = resolved(POLICY, graph)
    again = resolve(layer_config(to_json(first)), graph)
    assert again.kv_cache == first.kv_cache
    assert to_json(again) == to_json(first)
    assert str(again.kv_cache["k_proj"].rule).startswith("json (")


def test_layers_that_are_none_of_a_cache_are_refused_together(graph: Graph) -> None:
    missing, other = refusal("kv_cache_quant_config { quant_layers: ['k_porj', 'x'] }", graph)
    assert (missing.code, missing.help) == ("AM220", "did you mean `k_proj`?")
    assert (other.code, other.message) == (
        "AM285",
        "layer `x` is of type Input; keys and values come from Linear layers",
    )
    assert other.help == "its Linear layers are `q_proj`, `k_proj`, `v_proj`, `o_proj`"
    assert other.span is not None and other.span.column == 50


def test_a_product_of_two_values_is_no_linear_layer(graph: Graph) -> None:
    name = next(node.name for node in graph.nodes if node.type == "MatMul" and len(node.inputs) == 2)
    (found,) = refusal(f"kv_cache_quant_config {{ quant_layers: '{name}' }}", graph)
    assert found.code == "AM285"


def test_a_layer_with_the_name_of_a_parameter_has_no_place_in_a_layer_config(tmp_path: Path) -> None:
    model = attention(made_up())
    for node in model.graph.node:
        if node.name == "k_proj":
            node.name = "batch_num"
    policy = "kv_cache_quant_config { quant_layers: 'batch_num' }"
    with pytest.raises(DiagnosticError, match="AM229"):
        to_json(resolved(policy, load(model, tmp_path)))


def test_explain_tells_each_value_and_its_rule(graph: Graph) -> None:
    policy = resolved(POLICY, graph)
    rows = {(row.layer, row.field): row for row in explain(policy)}
    step = rows["v_proj", "kv_data_quant_config.search_step"]
    assert (step.value, step.rule_text) == (0.02, "override_layers_configs (quant.cfg:6)")
    offset = rows["v_proj", "kv_data_quant_config.asymmetric"]
    assert (offset.value, offset.rule_text) == (True, "kv_cache_quant_config (quant.cfg:4)")
    assert rows["k_proj", "kv_data_quant_config.quant_granularity"].value == 1
    assert (None, "do_fusion") not in rows
    assert [row.field for row in explanation(policy, "q_proj").rows] == []


def test_explain_tells_of_every_layer_whether_its_output_is_kept(graph: Graph) -> None:
    rows = {row.layer: row for row in explain_layers(resolved(POLICY, graph))}
    assert rows["k_proj"].cells[2:] == ("yes", "", "channel", "hfmg 8", "kv_cache_quant_config (quant.cfg:3)")
    assert rows["v_proj"].scale == "layer" and rows["v_proj"].lost
    assert rows["q_proj"].story == ("`q_proj` is not quantized: not named",)


def test_a_policy_that_is_made_has_no_places(graph: Graph) -> None:
    policy = Policy.from_text(SourceFile("kv.cfg", "kv_cache_quant_config { quant_layers: 'k_proj' }"), "kv-cache")
    assert resolve(policy, graph).batch_num == 1
