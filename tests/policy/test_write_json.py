"""The JSON layer config that is written, and that it means what the policy meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.policy import Policy, ResolvedPolicy, explain, explain_to_json, resolve, to_json
from amctc.policy.read import MAX_POLICY_BYTES
from amctc.quant.snq_settings import INIT_ALGOS
from tests.policy.texts import SAMPLE_CFG, cfg, layer_config, resolved_cfg, small_graph

TWO_LAYERS = """\
{
    "version":1,
    "batch_num":2,
    "activation_offset":false,
    "do_fusion":true,
    "skip_fusion_layers":[
        "fc"
    ],
    "add":{
        "quant_enable":true,
        "activation_quant_params":[
            {
                "num_bits":12,
                "max_percentile":0.999999,
                "min_percentile":0.999999,
                "search_range":[
                    0.7,
                    1.3
                ],
                "search_step":0.01
            },
            {
                "num_bits":12,
                "max_percentile":0.999999,
                "min_percentile":0.999999,
                "search_range":[
                    0.7,
                    1.3
                ],
                "search_step":0.01
            }
        ]
    },
    "fc":{
        "quant_enable":false,
        "activation_quant_params":{
            "num_bits":8,
            "max_percentile":0.999999,
            "min_percentile":0.999999,
            "search_range":[
                0.7,
                1.3
            ],
            "search_step":0.01
        },
        "weight_quant_params":{
            "wts_algo":"arq_quantize",
            "channel_wise":false,
            "num_bits":8
        }
    }
}
"""


def two_layers() -> Graph:
    graph = Graph()
    value = graph.add("in", "caffe.Input").output
    value = graph.add("fc", "caffe.InnerProduct", [value]).output
    graph.add("add", "caffe.Eltwise", [value, value])
    return graph


def written_again(resolved: ResolvedPolicy, graph: Graph) -> ResolvedPolicy:
    return resolve(layer_config(to_json(resolved)), graph)


def test_the_whole_text() -> None:
    text = """\
batch_num: 2
activation_offset: false
skip_layers: "fc"
skip_fusion_layers: "fc"
override_layer_types { layer_type: "Eltwise" calibration_config { ifmr_quantize { num_bits: 12 } } }
"""
    assert to_json(resolve(cfg(text), two_layers())) == TWO_LAYERS


def test_non_uniform_weights_and_bn_update_are_written_as_in_the_manual() -> None:
    root = json.loads(to_json(resolved_cfg(SAMPLE_CFG)))
    assert list(root)[:8] == [
        "version",
        "batch_num",
        "activation_offset",
        "do_fusion",
        "skip_fusion_layers",
        "update_bn",
        "bn_update_config",
        "bn1",
    ]
    assert list(root["bn_update_config"].items()) == [
        ("bn_moving_average_fraction", 0.5),
        ("bn_update_iterations", 30),
        ("bn_dump_dir", "tmp/bn_data"),
    ]
    assert list(root["conv2"]["weight_quant_params"].items()) == [
        ("wts_algo", "snq_quantize"),
        ("channel_wise", True),
        ("num_bits", 4),
        ("max_iteration", 1000),
        ("min_distance", 1e-10),
        ("init_algo", "gaussian"),
    ]
    assert list(root)[7:] == sorted(list(root)[7:])


def test_an_offset_of_its_own_is_written_only_for_its_layer() -> None:
    text = '{"conv1":{"activation_quant_params":{"with_offset":false}},"conv2":{}}'
    written = json.loads(to_json(resolve(layer_config(text), small_graph())))
    assert written["conv1"]["activation_quant_params"]["with_offset"] is False
    assert "with_offset" not in written["conv2"]["activation_quant_params"]


def test_a_layer_with_the_name_of_a_parameter_cannot_be_written() -> None:
    graph = Graph()
    graph.add("batch_num", "caffe.InnerProduct", [graph.add("in", "caffe.Input").output])
    with pytest.raises(DiagnosticError) as caught:
        to_json(resolve(Policy(), graph))
    assert [found.code for found in caught.value.diagnostics] == ["AM229"]


LAYERS = ("conv1", "bn1", "scale1", "relu1", "conv2", "sum", "pool1", "fc", "prob")
TYPES = ("Convolution", "BatchNorm", "Scale", "ReLU", "Eltwise", "Pooling", "InnerProduct", "Softmax", "LRN")
WEIGHTED = {"conv1", "conv2", "fc", "Convolution", "InnerProduct"}


@st.composite
def ifmr_texts(draw: st.DrawFn) -> str:
    start = draw(st.integers(1, 99))
    end = draw(st.integers(start + 1, 200))
    step = draw(st.integers(1, end - start))
    percentile = draw(st.integers(500001, 1000000)) / 1_000_000
    lines = [f"search_range_start: {start / 100} search_range_end: {end / 100} search_step: {step / 100}"]
    lines.append(f"max_percentile: {percentile} num_bits: {draw(st.integers(8, 16))}")
    return f"ifmr_quantize {{ {' '.join(lines)} }}"


@st.composite
def weight_texts(draw: st.DrawFn, wise: bool) -> str:
    said = f"channel_wise: {str(draw(st.booleans()) and wise).lower()}" if draw(st.booleans()) else ""
    if draw(st.booleans()):
        return f"arq_quantize {{ {said} }}"
    init = draw(st.sampled_from(INIT_ALGOS))
    return f"snq_quantize {{ {said} max_iteration: {draw(st.integers(500, 2000))} init_algo: '{init}' }}"


@st.composite
def policies(draw: st.DrawFn) -> str:
    def config(name: str | None) -> str:
        parts = [draw(ifmr_texts())] if draw(st.booleans()) else []
        if (name is None or name in WEIGHTED) and draw(st.booleans()):
            parts.append(draw(weight_texts(name not in ("fc", "InnerProduct"))))
        return "{ " + " ".join(parts) + " }"

    lines = [f"batch_num: {draw(st.integers(1, 9))}", f"activation_offset: {str(draw(st.booleans())).lower()}"]
    lines += [f'skip_layers: "{name}"' for name in draw(st.lists(st.sampled_from(LAYERS), unique=True, max_size=2))]
    lines += [f'skip_fusion_layers: "{name}"' for name in draw(st.sets(st.sampled_from(["conv1", "bn1"])))]
    if draw(st.booleans()):
        lines.append(f"common_config {config(None)}")
    for name in draw(st.lists(st.sampled_from(TYPES), unique=True, max_size=3)):
        lines.append(f'override_layer_types {{ layer_type: "{name}" calibration_config {config(name)} }}')
    for name in draw(st.lists(st.sampled_from(LAYERS), unique=True, max_size=3)):
        lines.append(f'override_layer_configs {{ layer_name: "{name}" calibration_config {config(name)} }}')
    lines.append('pass { name: "p" option { key: "k" value: "v" } }' if draw(st.booleans()) else "")
    return "\n".join(lines)


@given(policies())
def test_a_written_layer_config_means_what_the_policy_meant(text: str) -> None:
    graph = small_graph()
    resolved = resolved_cfg(text, graph)
    again = written_again(resolved, graph)
    assert again == resolved
    assert to_json(again) == to_json(resolved)


@pytest.mark.parametrize("folder", ["assets/caffe", "golden/caffe/nets", "golden/caffe/layers"])
@pytest.mark.parametrize("text", ["", "activation_offset: false\ncommon_config { snq_quantize { } }"])
def test_a_written_layer_config_means_the_same_for_real_models(shared: Path, folder: str, text: str) -> None:
    policy = cfg(text)
    checked = 0
    for path in sorted((shared / folder).glob("**/*.prototxt")):
        try:
            graph = load_caffe(path)
            resolved = resolve(policy, graph)
        except DiagnosticError:
            continue  # a solver, a net for training alone, or nothing to quantize in it
        assert written_again(resolved, graph) == resolved, path.name
        checked += 1
    assert checked


def test_every_row_of_an_explanation_has_a_rule() -> None:
    rows = explain(resolved_cfg(SAMPLE_CFG))
    general = [row for row in rows if row.layer is None]
    assert [(row.field, row.value, row.rule_text) for row in general[:4]] == [
        ("batch_num", 1, "built-in default"),
        ("activation_offset", True, "built-in default"),
        ("do_fusion", True, "do_fusion (quant.cfg:4)"),
        ("skip_fusion_layers[0]", "conv1", "skip_fusion_layers (quant.cfg:5)"),
    ]
    assert all(row.rule for row in rows)


def test_the_explanation_of_one_layer() -> None:
    rows = explain(resolved_cfg(SAMPLE_CFG), "conv1")
    assert {(row.layer, row.type) for row in rows} == {("conv1", "Convolution")}
    assert [(row.field, row.value, row.rule_text) for row in rows] == [
        ("quant_enable", True, "built-in default of Convolution"),
        ("activation_quant_params.num_bits", 8, "override_layer_configs (quant.cfg:58)"),
        ("activation_quant_params.with_offset", True, "built-in default"),
        ("activation_quant_params.max_percentile", 0.999999, "override_layer_configs (quant.cfg:56)"),
        ("activation_quant_params.min_percentile", 0.999999, "override_layer_configs (quant.cfg:57)"),
        ("activation_quant_params.search_range[0]", 0.8, "override_layer_configs (quant.cfg:53)"),
        ("activation_quant_params.search_range[1]", 1.2, "override_layer_configs (quant.cfg:54)"),
        ("activation_quant_params.search_step", 0.02, "override_layer_configs (quant.cfg:55)"),
        ("weight_quant_params.wts_algo", "arq_quantize", "override_layer_configs (quant.cfg:48)"),
        ("weight_quant_params.channel_wise", True, "override_layer_configs (quant.cfg:49)"),
        ("weight_quant_params.num_bits", 8, "override_layer_configs (quant.cfg:50)"),
    ]


def test_the_explanation_of_a_layer_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(DiagnosticError) as caught:
        explain(resolved_cfg(""), "conv3")
    assert caught.value.diagnostics[0].help == "did you mean `conv2`?"


def test_an_explanation_is_plain_data_with_a_version() -> None:
    data = explain_to_json(explain(resolved_cfg(""), "sum"))
    assert json.loads(json.dumps(data)) == data
    assert data["version"] == 1
    rows = data["rows"]
    assert isinstance(rows, list)
    assert rows[1] == {
        "layer": "sum",
        "type": "Eltwise",
        "field": "activation_quant_params[0].num_bits",
        "value": 8,
        "rule": "built-in default of Eltwise",
        "location": None,
    }


def test_the_config_of_ten_thousand_layers_is_read_back_though_it_is_larger_than_four_mebibytes() -> None:
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for number in range(10_000):
        value = graph.add(f"conv{number}", "caffe.Convolution", [value]).output
    resolved = resolved_cfg('override_layer_configs { layer_name: "glob:conv*7" calibration_config { } }', graph)
    text = to_json(resolved)
    assert 4 * 1024 * 1024 < len(text) < MAX_POLICY_BYTES
    assert resolve(layer_config(text), graph) == resolved
