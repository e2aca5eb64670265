"""Policies of non-uniform weights: what layers get, how statistics are renewed, and what is warned of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError, Level
from amctc.ir import Graph, NodeQuant
from amctc.policy import (
    BnUpdate,
    Policy,
    ResolvedPolicy,
    SnqSettings,
    check_dump_dir,
    explain,
    not_yet_available,
    resolve,
    to_json,
)
from amctc.policy.json_schema import layer_config_schema
from amctc.policy.rules import CalibrationRule, WeightRule
from amctc.policy.said import Said
from amctc.policy.settings import SNQ
from amctc.quant import snq_settings
from amctc.source import SourceFile
from tests.policy.texts import cfg, layer_config, places, resolved_cfg, small_graph

CLUSTER_CONV2 = 'override_layer_configs { layer_name: "conv2" calibration_config { snq_quantize { } } }'


def without_batch_norm() -> Graph:
    graph = Graph("plain")
    value = graph.add("data", "caffe.Input").output
    for name in ("conv1", "conv2", "conv3"):
        value = graph.add(name, "caffe.Convolution", [value]).output
    graph.outputs = [value]
    return graph


def batch_norm_far_behind() -> Graph:
    """Of conv1 and conv2, which are parallel, only conv2 has a BatchNorm behind it, and not next to it."""
    graph = Graph("branches")
    data = graph.add("data", "caffe.Input").output
    first = graph.add("conv1", "caffe.Convolution", [data]).output
    value = graph.add("conv2", "caffe.Convolution", [data]).output
    value = graph.add("relu", "caffe.ReLU", [value]).output
    value = graph.add("conv3", "caffe.Convolution", [value]).output
    value = graph.add("bn", "caffe.BatchNorm", [value]).output
    graph.outputs = [graph.add("sum", "caffe.Eltwise", [first, value]).output]
    return graph


def behind_a_batch_norm() -> Graph:
    """bn1 before conv3, bn2 and bn3 behind it."""
    graph = Graph("chain")
    value = graph.add("data", "caffe.Input").output
    for number in (1, 2, 3):
        value = graph.add(f"conv{2 * number - 1}", "caffe.Convolution", [value]).output
        value = graph.add(f"bn{number}", "caffe.BatchNorm", [value]).output
    graph.outputs = [graph.add("conv7", "caffe.Convolution", [value]).output]
    return graph


def warnings_of(text: str, graph: Graph) -> list[str]:
    return [found.code for found in resolved_cfg(text, graph).warnings]


def annotation(text: str, layer: str = "conv2") -> NodeQuant:
    graph = small_graph()
    quant = resolved_cfg(text, graph).quant_of(graph.node(layer))
    assert quant is not None
    return quant


# What a layer gets.


def test_there_is_one_list_of_beginnings_for_both_languages() -> None:
    words = layer_config_schema()["$defs"]["weight"]["then"]["properties"]["init_algo"]["enum"]
    assert tuple(words) == snq_settings.INIT_ALGOS
    assert "optimal" in words


@pytest.mark.parametrize("init", snq_settings.INIT_ALGOS)
def test_every_beginning_is_accepted_in_both_languages(init: str) -> None:
    said = cfg(f"common_config {{ snq_quantize {{ init_algo: '{init}' }} }}").common_config
    assert said is not None and said.weights is not None and said.weights.init_algo == Said(init)
    weights = {"wts_algo": "snq_quantize", "init_algo": init}
    policy = layer_config(json.dumps({"conv2": {"weight_quant_params": weights}}))
    clustering = resolve(policy, small_graph()).layers["conv2"].weight_settings
    assert isinstance(clustering, SnqSettings) and clustering.clustering.init_algo == init


def test_the_settings_of_a_policy_have_the_defaults_of_the_arithmetic() -> None:
    assert SnqSettings(channel_wise=True).clustering == snq_settings.SnqSettings()
    assert SnqSettings(True, 4, 600, 1e-4, "optimal").clustering == snq_settings.SnqSettings(600, 1e-4, "optimal")


def test_the_annotation_of_a_clustered_layer_says_how() -> None:
    text = "common_config { snq_quantize { channel_wise: false max_iteration: 600 init_algo: 'optimal' } }"
    weight = annotation(text).weight
    assert weight is not None
    assert (weight.algorithm, weight.bits, weight.channel_wise) == ("snq_quantize", 4, False)
    assert weight.clustering == snq_settings.SnqSettings(600, 1e-10, "optimal")


def test_the_annotation_of_a_uniform_layer_has_no_clustering() -> None:
    weight = annotation(CLUSTER_CONV2, "conv1").weight
    assert weight is not None
    assert (weight.algorithm, weight.bits, weight.clustering) == ("arq_quantize", 8, None)


@pytest.mark.parametrize(
    ("text", "nonuniform"),
    [
        ("", False),
        (CLUSTER_CONV2, True),
        (CLUSTER_CONV2 + 'skip_layers: "conv2"', False),
        ("update_bn: true", True),
        ("update_bn: false", False),
    ],
)
def test_clustered_weights_or_renewed_statistics_make_a_policy_nonuniform(text: str, nonuniform: bool) -> None:
    assert resolved_cfg(text).is_nonuniform is nonuniform


# The renewal of statistics.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("update_bn: false bn_update_config { bn_update_iterations: 5 }", None),
        ("bn_update_config { bn_update_iterations: 5 }", None),
        ("update_bn: true", BnUpdate(30, 0.5, None)),
        ("update_bn: true bn_update_config { }", BnUpdate(30, 0.5, None)),
        ("update_bn: true bn_update_config { bn_update_iterations: 5 }", BnUpdate(5, 0.5, None)),
        (
            "update_bn: true bn_update_config { bn_moving_average_fraction: 0.25 bn_dump_dir: 'bn' }",
            BnUpdate(30, 0.25, "bn"),
        ),
    ],
)
def test_the_renewal_has_the_defaults_that_the_manual_recommends(text: str, expected: BnUpdate | None) -> None:
    assert resolved_cfg(text).bn_update == expected


def test_the_explanation_tells_which_numbers_of_the_renewal_are_defaults() -> None:
    text = "update_bn: true\nbn_update_config {\n  bn_update_iterations: 5\n}\n"
    rows = [row for row in explain(resolved_cfg(text)) if row.field.startswith(("update_bn", "bn_update"))]
    assert [(row.field, row.value, row.rule_text) for row in rows] == [
        ("update_bn", True, "update_bn (quant.cfg:1)"),
        ("bn_update_config.bn_moving_average_fraction", 0.5, "built-in default"),
        ("bn_update_config.bn_update_iterations", 5, "bn_update_config (quant.cfg:3)"),
    ]


def test_the_explanation_of_a_clustered_layer_has_every_setting() -> None:
    text = "common_config {\n  snq_quantize {\n    init_algo: 'optimal'\n  }\n}"
    rows = [row for row in explain(resolved_cfg(text), "conv2") if row.field.startswith("weight_quant_params")]
    assert [(row.field.partition(".")[2], row.value, row.rule_text) for row in rows] == [
        ("wts_algo", "snq_quantize", "common_config (quant.cfg:2)"),
        ("channel_wise", True, "built-in default of Convolution"),
        ("num_bits", 4, "built-in default of Convolution"),
        ("max_iteration", 1000, "built-in default of Convolution"),
        ("min_distance", 1e-10, "built-in default of Convolution"),
        ("init_algo", "optimal", "common_config (quant.cfg:3)"),
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", {}),
        ("update_bn: true", {"update_bn": True}),
        ("update_bn: true bn_update_config { }", {"update_bn": True, "bn_update_config": {}}),
        ("bn_update_config { bn_dump_dir: 'bn' }", {"bn_update_config": {"bn_dump_dir": "bn"}}),
        (
            "update_bn: true bn_update_config { bn_update_iterations: 5 }",
            {"update_bn": True, "bn_update_config": {"bn_update_iterations": 5}},
        ),
    ],
)
def test_a_layer_config_says_of_the_renewal_what_the_policy_said(text: str, written: dict[str, object]) -> None:
    resolved = resolved_cfg(text)
    root = json.loads(to_json(resolved))
    assert {key: root[key] for key in ("update_bn", "bn_update_config") if key in root} == written
    assert resolve(layer_config(to_json(resolved)), small_graph()) == resolved


# What is built, and for whom.


def test_clustered_weights_and_the_renewal_are_built() -> None:
    assert not_yet_available(resolved_cfg("update_bn: true common_config { snq_quantize { } }")) == []


@pytest.mark.parametrize("flavour", ["pytorch", "ge"])
@pytest.mark.parametrize("text", ["common_config { snq_quantize { } }", "update_bn: true"])
def test_other_flavours_do_not_have_them(flavour: str, text: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile("quant.cfg", text), flavour)
    assert [found.code for found in caught.value.diagnostics] == ["AM200"]


@pytest.mark.parametrize("flavour", ["pytorch", "ge"])
def test_layer_configs_of_other_flavours_do_not_have_them(flavour: str) -> None:
    text = '{"version":1,"conv1":{"weight_quant_params":{"wts_algo":"snq_quantize"}}}'
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile("layers.json", text), flavour)
    assert [found.code for found in caught.value.diagnostics] == ["AM203"]


@pytest.mark.parametrize(
    ("text", "flavour", "words"),
    [
        ("common_config { arq_quantize { quant_bits: 4 } }", "pytorch", "weights of 4 bits are accepted"),
        ("common_config { ada_quantize { quant_bits: 4 } }", "pytorch", "weights of 4 bits are accepted"),
        ("enable_auto_nuq: true", "ge", "`enable_auto_nuq` is accepted"),
    ],
)
def test_what_other_flavours_have_of_4_bits_is_refused_still(text: str, flavour: str, words: str) -> None:
    (found,) = not_yet_available(resolve(Policy.from_text(SourceFile("quant.cfg", text), flavour), small_graph()))
    assert found.code == "AM290" and found.message.startswith(words)


# Warnings.


def test_statistics_are_not_renewed_in_a_model_that_has_none() -> None:
    found = resolved_cfg("batch_num: 1\nupdate_bn: true", without_batch_norm()).warnings
    assert places(found) == [("AM273", 2, 12)]
    assert found[0].level is Level.WARNING
    assert warnings_of("update_bn: true", small_graph()) == []
    assert warnings_of("update_bn: false", without_batch_norm()) == []


def test_clustered_weights_before_batch_norm_want_their_statistics_renewed() -> None:
    (found,) = resolved_cfg("batch_num: 1\n" + CLUSTER_CONV2.replace("conv2", "conv3"), behind_a_batch_norm()).warnings
    assert places((found,)) == [("AM275", 2, 67)]
    assert found.notes == ("the first of them is `bn2`, behind `conv3`",)
    assert not found.related


def test_where_the_renewal_is_switched_off_is_shown() -> None:
    (found,) = resolved_cfg(
        CLUSTER_CONV2.replace("conv2", "conv3") + "\nupdate_bn: false", behind_a_batch_norm()
    ).warnings
    assert [(label.span.line, label.text) for label in found.related] == [(2, "switched off here")]


@pytest.mark.parametrize(
    ("graph", "text", "told"),
    [
        (small_graph, CLUSTER_CONV2, False),  # its BatchNorm is before the layer
        (small_graph, CLUSTER_CONV2.replace("conv2", "conv1"), True),
        (small_graph, "update_bn: true " + CLUSTER_CONV2.replace("conv2", "conv1"), False),
        (small_graph, 'skip_layers: "conv1" ' + CLUSTER_CONV2.replace("conv2", "conv1"), False),
        (batch_norm_far_behind, CLUSTER_CONV2, True),
        (batch_norm_far_behind, CLUSTER_CONV2.replace("conv2", "conv1"), False),
        (without_batch_norm, CLUSTER_CONV2, False),
    ],
)
def test_only_what_batch_norm_layers_see_wants_the_renewal(graph: Callable[[], Graph], text: str, told: bool) -> None:
    assert ("AM275" in warnings_of(text, graph())) is told


def test_a_policy_that_no_file_says_is_not_advised() -> None:
    rule = CalibrationRule(weights=WeightRule(Said(SNQ)))
    assert resolve(Policy(common_config=rule), small_graph()).warnings == ()


# The folder for the statistics.


def dumping(folder: Path | str) -> ResolvedPolicy:
    return resolved_cfg(f"update_bn: true\nbn_update_config {{ bn_dump_dir: {json.dumps(str(folder))} }}")


def refusal(folder: Path | str) -> Diagnostic:
    found = check_dump_dir(dumping(folder))
    assert found is not None
    assert places((found,)) == [("AM245", 2, 33)]
    assert found.level is Level.ERROR
    return found


def test_a_folder_that_is_there_or_can_be_made_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_dump_dir(dumping(tmp_path)) is None
    assert check_dump_dir(dumping(tmp_path / "a" / "b")) is None
    monkeypatch.chdir(tmp_path)
    assert check_dump_dir(dumping("tmp/bn_data")) is None
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_there_is_nothing_to_check() -> None:
    assert check_dump_dir(resolved_cfg("update_bn: true")) is None
    assert check_dump_dir(resolved_cfg("")) is None


def test_a_folder_that_has_no_effect_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = f"bn_update_config {{ bn_dump_dir: {json.dumps(str(tmp_path / 'file'))} }}"
    assert check_dump_dir(resolved_cfg(text)) is None


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file").message.endswith("cannot be written: it is not a folder")
    below = refusal(tmp_path / "file" / "bn")
    assert below.message.endswith(f"cannot be written: `{tmp_path / 'file'}` is not a folder")


def test_a_link_to_nothing_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert refusal(tmp_path / "link").message.endswith("it is not a folder")


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The administrator may write everywhere, so the answer of the system is put in.
    def access(path: str | Path, mode: int) -> bool:
        return not mode & os.W_OK or Path(path) != tmp_path

    monkeypatch.setattr("amctc.policy.dump_dir.os.access", access)
    assert refusal(tmp_path).message.endswith("it may not be written")
    assert refusal(tmp_path / "a" / "b").message.endswith(f"`{tmp_path}` may not be written")


def test_a_name_that_no_file_can_have_is_told() -> None:
    assert "too long" in refusal("x" * 5000).message
    assert len(refusal("x" * 5000).message) < 400
