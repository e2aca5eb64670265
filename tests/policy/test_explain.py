"""What `amctc explain` tells: every layer in short, one layer in full with the rules that lost, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.policy import (
    LayerRow,
    Policy,
    ResolvedPolicy,
    explain,
    explain_layers,
    explain_to_json,
    explanation,
    resolve,
)
from tests.policy.texts import cfg, layer_config, resolved_cfg, small_graph

TEXT = """\
common_config { ifmr_quantize { num_bits: 10 } }
override_layer_types { layer_type: "Convolution" calibration_config { arq_quantize { channel_wise: false } } }
override_layer_configs { layer_name: "glob:conv*" calibration_config { ifmr_quantize { num_bits: 12 } } }
override_layer_configs { layer_name: "conv2" calibration_config { ifmr_quantize { num_bits: 9 } } }
skip_layers: ["fc", "regex:f.*"]
skip_layer_types: "InnerProduct"
"""


def row_of(text: str, layer: str) -> LayerRow:
    (row,) = explain_layers(resolved_cfg(text), layer)
    return row


def test_every_layer_of_the_graph_has_a_row_in_graph_order() -> None:
    rows = explain_layers(resolved_cfg(TEXT))
    assert [row.layer for row in rows] == [node.name for node in small_graph().nodes]


@pytest.mark.parametrize(
    ("layer", "cells"),
    [
        ("data", ("data", "Input", "no: its type is never quantized", "", "", "", "built-in default of Input")),
        ("conv1", ("conv1", "Convolution", "yes", "arq 8", "channel", "12",
                   "override_layer_configs (quant.cfg:3)")),
        ("conv2", ("conv2", "Convolution", "yes", "arq 8", "channel", "9",
                   "override_layer_configs (quant.cfg:4)")),
        ("bn1", ("bn1", "BatchNorm", "no: off by default", "", "", "", "built-in default of BatchNorm")),
        ("sum", ("sum", "Eltwise", "yes", "", "", "10", "common_config (quant.cfg:1)")),
        ("drop", ("drop", "Dropout", "no: its type is never quantized", "", "", "", "built-in default of Dropout")),
        ("fc", ("fc", "InnerProduct", "no: skipped", "", "", "", "skip_layers (quant.cfg:5)")),
    ],
)  # fmt: skip
def test_a_row_says_how_a_layer_is_quantized_or_why_it_is_not(layer: str, cells: tuple[str, ...]) -> None:
    assert row_of(TEXT, layer).cells == cells


@pytest.mark.parametrize(
    ("layer", "story"),
    [
        ("conv2", ("`conv2` is quantized",
                   "override_layer_configs quant.cfg:3 lost to override_layer_configs quant.cfg:4",
                   "override_layer_types quant.cfg:2 lost to override_layer_configs quant.cfg:4",
                   "common_config quant.cfg:1 lost to override_layer_configs quant.cfg:4")),
        ("conv1", ("`conv1` is quantized",
                   "override_layer_types quant.cfg:2 lost to override_layer_configs quant.cfg:3",
                   "common_config quant.cfg:1 lost to override_layer_configs quant.cfg:3")),
        ("sum", ("`sum` is quantized",)),
        ("fc", ("`fc` is not quantized: skipped",
                "skip_layers quant.cfg:5:21 lost to skip_layers quant.cfg:5:15",
                "skip_layer_types quant.cfg:6 lost to skip_layers quant.cfg:5")),
        ("drop", ("`drop` is not quantized: its type is never quantized",)),
    ],
)  # fmt: skip
def test_the_story_of_a_layer_names_the_rules_that_lost(layer: str, story: tuple[str, ...]) -> None:
    assert row_of(TEXT, layer).story == story


def test_an_override_of_a_skipped_layer_lost_to_the_skip_list() -> None:
    text = 'skip_layers: "conv1"\noverride_layer_configs { layer_name: "conv1" calibration_config { } }'
    assert row_of(text, "conv1").story[1:] == ("override_layer_configs quant.cfg:2 lost to skip_layers quant.cfg:1",)


def test_rules_on_one_line_are_told_apart_by_their_columns() -> None:
    text = 'skip_layers: "conv1" override_layer_configs { layer_name: "conv1" calibration_config { } }'
    (lost,) = row_of(text, "conv1").lost
    assert str(lost) == "override_layer_configs quant.cfg:1:59 lost to skip_layers quant.cfg:1:14"
    assert lost.places == ("quant.cfg:1:59", "quant.cfg:1:14")


def test_a_layer_that_a_pattern_does_not_switch_on_says_so() -> None:
    text = 'override_layer_configs { layer_name: "glob:*1" calibration_config { } }'
    assert row_of(text, "relu1").reason == "off by default, and no pattern switches it on"


def test_the_rows_of_a_layer_config_name_its_entries() -> None:
    text = '{"conv1": {}, "conv2": {"quant_enable": false}, "glob:conv*": {}, "glob:relu?": {}}'
    rows = {row.layer: row for row in explain_layers(resolve(layer_config(text), small_graph()))}
    assert rows["conv1"].rule_text == "json (config.json:1)"
    assert rows["conv1"].story[1:] == ("json config.json:1:49 lost to json config.json:1:2",)
    assert rows["conv2"].reason == "`quant_enable` is false"
    assert rows["relu1"].reason == "off by default, and no pattern switches it on"
    assert (rows["sum"].reason, rows["sum"].rule_text) == ("no entry", "json (no entry)")


def test_inputs_of_different_widths_are_told_apart() -> None:
    text = '{"sum": {"activation_quant_params": [{"num_bits": 8}, {"num_bits": 12}]}}'
    (row,) = explain_layers(resolve(layer_config(text), small_graph()), "sum")
    assert (row.cells[5], row.data_bits) == ("8, 12", (8, 12))


def test_the_values_of_a_layer_that_is_never_quantized_are_none() -> None:
    assert explain(resolved_cfg(""), "drop") == []


@pytest.mark.parametrize("ask", [explain, explain_layers, explanation])
def test_a_layer_that_is_not_there_is_told_with_the_nearest(ask: Callable[[ResolvedPolicy, str], object]) -> None:
    with pytest.raises(DiagnosticError) as caught:
        ask(resolved_cfg(""), "conv3")
    (found,) = caught.value.diagnostics
    assert (found.code, found.help) == ("AM220", "did you mean `conv2`?")


def test_histogram_calibration_shows_its_own_values() -> None:
    resolved = resolve(cfg("common_config { hfmg_quantize { num_of_bins: 2048 asymmetric: false } }"), small_graph())
    fields = {row.field: row.value for row in explain(resolved, "pool1")}
    assert fields == {
        "quant_enable": True,
        "activation_quant_params.num_bits": 8,
        "activation_quant_params.with_offset": False,
        "activation_quant_params.act_algo": "hfmg",
        "activation_quant_params.num_of_bins": 2048,
    }
    (row,) = explain_layers(resolved, "pool1")
    assert row.cells[5] == "hfmg 8"


def test_the_json_has_the_rows_and_the_layers() -> None:
    found = explanation(resolved_cfg(TEXT), "fc")
    data = explain_to_json(found.rows, found.layers)
    assert json.loads(json.dumps(data)) == data
    assert list(data) == ["version", "rows", "layers"]
    assert data["version"] == 1
    assert data["layers"] == [
        {
            "layer": "fc",
            "type": "InnerProduct",
            "quantized": False,
            "reason": "skipped",
            "weights": "arq_quantize",
            "weight_bits": 8,
            "scale": "layer",
            "data": ["ifmr"],
            "data_bits": [10],
            "rule": "skip_layers",
            "location": "quant.cfg:5",
            "lost": [
                {
                    "rule": "skip_layers",
                    "location": "quant.cfg:5:21",
                    "winner": "skip_layers",
                    "winner_location": "quant.cfg:5:15",
                },
                {
                    "rule": "skip_layer_types",
                    "location": "quant.cfg:6",
                    "winner": "skip_layers",
                    "winner_location": "quant.cfg:5",
                },
            ],
        }
    ]


def test_what_no_file_says_has_no_place() -> None:
    (row,) = explain_layers(resolve(Policy(), small_graph()), "conv1")
    assert (row.rule, row.location, row.lost) == ("built-in default of Convolution", None, ())
