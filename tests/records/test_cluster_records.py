"""Non-uniform weights in records: levels are written, read, merged, checked, and give the same model again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError
from amctc.dialects.traits import weight_rows
from amctc.driver.conversion import convert
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.policy import resolve
from amctc.records.check_record import validate
from amctc.records.quant_param import quant_param_binary, quant_param_text
from amctc.records.read_record import merge_into, parse_record, read_record
from amctc.records.record_policy import policy_of
from amctc.records.scale_offset import layer_records, scale_offset_record, weight_records
from amctc.records.scale_record import InputRecord, LayerRecord, record_text
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.nets import conv, data, layer, make_net, write_net
from tests.quantized import quantize, random_feeds
from tests.runtime.test_recurrent_layers import with_everything

NET = (
    data("2 4 8 8")
    + conv("first", "data", 4)
    + conv("wide", "first", 6)
    + layer("pool", "Pooling", "wide", "pool", "pooling_param { pool: AVE kernel_size: 2 }")
    + conv("up", "pool", 4, type="Deconvolution", more="group: 2")
    + layer("fc", "InnerProduct", "up", "fc", "inner_product_param { num_output: 5 }")
)
SNQ = """
batch_num: 1
override_layer_types { layer_type: 'Convolution' calibration_config { snq_quantize { channel_wise: true } } }
override_layer_types { layer_type: 'Deconvolution' calibration_config { snq_quantize { channel_wise: true } } }
override_layer_types { layer_type: 'InnerProduct' calibration_config { snq_quantize { channel_wise: false } } }
override_layer_configs { layer_name: 'first' calibration_config { arq_quantize { channel_wise: true } } }
"""
DATA = "record_d { index: 0 scale_d: 0.5 offset_d: -3 }"
TABLE = ", ".join(map(str, range(-8, 8)))


def quantized(folder: Path) -> Graph:
    graph = make_net(folder, NET)
    return quantize(graph, random_feeds(graph, 1), SNQ)


def tables(graph: Graph, name: str) -> NDArray[np.int8]:
    quant = graph.node(name).quant
    assert quant is not None and quant.weight is not None
    return quant.weight.tables["weight"]


def levels_used(node: Node) -> list[set[int]]:
    return [set(row.tolist()) for row in weight_rows(node, node.weights["weight"])]


def entry(key: str, value: str) -> str:
    return f'record {{\n  key: "{key}"\n  value {{\n    {value}\n  }}\n}}\n'


def found(graph: Graph, text: str) -> list[Diagnostic]:
    collector = Collector()
    try:
        validate(parse_record(SourceFile("record.txt", text)), graph, collector)
    except DiagnosticError as mistakes:
        return list(mistakes.diagnostics)
    return collector.diagnostics


# -- writing and reading -------------------------------------------------------------------------


def test_the_levels_of_every_scale_are_recorded_in_its_order(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    entries = {layer.name: layer for layer in layer_records(graph)}
    assert [entries[name].bits_w for name in ("first", "wide", "up", "fc")] == [8, 4, 4, 4]
    assert [len(entries[name].scale_w) for name in ("first", "wide", "up", "fc")] == [4, 6, 4, 1]
    assert entries["first"].cluster == entries["pool"].cluster == ()
    for name in ("wide", "up", "fc"):
        assert np.array_equal(np.array(entries[name].cluster).reshape(-1, 16), tables(graph, name))
    for row, used in zip(tables(graph, "up").tolist(), levels_used(graph.node("up")), strict=True):
        assert used <= set(row)
    weights = {layer.name: layer for layer in weight_records(graph)}
    assert all(weights[name].cluster == entries[name].cluster for name in ("first", "wide", "up", "fc"))


def test_a_record_with_levels_is_read_without_loss_and_protobuf_reads_the_same(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    text = scale_offset_record(graph)
    again = parse_record(SourceFile("record.txt", text)).layers
    assert again == tuple(layer_records(graph))
    message: Any = load_schema("amct_record.proto").message("amct_record.ScaleOffsetRecord")()
    text_format.Parse(text, message)
    values = {found.key: found.value for found in message.record}
    assert tuple(values["wide"].cluster) == tuple(tables(graph, "wide").reshape(-1).tolist())
    assert (values["wide"].num_bits_w, values["first"].num_bits_w) == (4, 8)


def test_only_entries_with_levels_have_their_lists_in_brackets() -> None:
    plain = LayerRecord("a", (InputRecord(0, 0.5, -3),)).with_weights([0.5, 0.25], 8)
    clustered = LayerRecord("b").with_weights([0.5, 0.25], 4, np.arange(-16, 16, dtype=np.int8).reshape(2, 16))
    alone = record_text([plain])
    assert "    scale_w: 0.5\n    scale_w: 0.25\n    offset_w: 0\n    offset_w: 0\n    num_bits_w: 8\n" in alone
    assert "cluster" not in alone
    both = record_text([plain, clustered, plain])
    assert both == alone + record_text([clustered]) + alone
    assert "    scale_w: [0.5, 0.25]\n" in both
    assert f"    cluster: {list(range(-16, 16))}\n" in both


def test_weights_are_merged_with_their_levels_as_one(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    table = np.arange(16, dtype=np.int8)[np.newaxis]
    merge_into(path, [LayerRecord("fc", (InputRecord(0, 0.5, 3),)).with_weights([0.5], 4, table)])
    (kept,) = merge_into(path, [LayerRecord("fc", (InputRecord(0, 0.25, 0),))]).layers
    assert (kept.bits_w, kept.cluster, kept.scale_w) == (4, tuple(range(16)), (0.5,))
    (uniform,) = merge_into(path, [LayerRecord("fc").with_weights([0.125], 8)]).layers
    assert (uniform.bits_w, uniform.cluster, uniform.scale_w) == (8, (), (0.125,))
    assert read_record(path).layers == (uniform,)


def test_the_parameter_record_has_codes_of_4_bits_and_the_tables(tmp_path: Path) -> None:
    graph = quantized(tmp_path)
    text: Any = load_schema("quant_param.proto").message("calibration.CalibrationParam")()
    text_format.Parse(quant_param_text(graph), text)
    binary = type(text).FromString(quant_param_binary(graph))
    assert text == binary
    weights = {found.name: found.quant_param.weight for found in text.layer if found.quant_param.HasField("weight")}
    assert {name: found.data_type for name, found in weights.items()} == {"first": 2, "wide": 0, "up": 0, "fc": 0}
    assert {name: found.params for name, found in weights.items() if found.HasField("params")} == {
        name: tables(graph, name).tobytes() for name in ("wide", "up", "fc")
    }
    scale_w = next(layer for layer in layer_records(graph) if layer.name == "wide").scale_w
    assert list(weights["wide"].scale) == pytest.approx([1 / scale for scale in scale_w], rel=1e-6)


# -- checking ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return make_net(tmp_path_factory.mktemp("net"), NET)


@pytest.mark.parametrize(
    "text",
    [
        entry("fc", f"scale_w: 0.25 num_bits_w: 4 cluster: [{TABLE}] {DATA}"),
        entry("fc", f"scale_w: 0.25 num_bits_w: 4 cluster: [-128, 127, 5] cluster: [{', '.join(['7'] * 13)}] {DATA}"),
        entry("up", f"scale_w: [1, 2, 3, 4] num_bits_w: 4 cluster: [{TABLE}, {TABLE}, {TABLE}, {TABLE}] {DATA}"),
        entry("up", f"scale_w: 1 num_bits_w: 4 cluster: [{TABLE}] {DATA}"),
    ],
)
def test_levels_that_fit_are_taken(graph: Graph, text: str) -> None:
    assert found(graph, text) == []


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "help"),
    [
        (
            entry("fc", f"scale_w: 1 num_bits_w: 4 {DATA}"),
            "AM620",
            "4:28",
            "layer `fc`: has the `num_bits_w` 4, and no `cluster` with the levels of its weights",
            "add 16 levels for each `scale_w`, or write `num_bits_w: 8`",
        ),
        (
            entry("fc", f"scale_w: 1 cluster: [{TABLE}] {DATA}"),
            "AM613",
            "4:26",
            "layer `fc`: has 16 levels in `cluster`, and weights of 8 bits have none",
            "write `num_bits_w: 4`, or take `cluster` out",
        ),
        (
            entry("fc", f"scale_w: 1 num_bits_w: 4 cluster: [1, 2, 3] {DATA}"),
            "AM613",
            "4:46",
            "layer `fc`: has 3 levels in `cluster`, where 16 must be",
            "write 16 for each `scale_w`, in the same order",
        ),
        (
            entry("up", f"scale_w: [1, 2, 3, 4] num_bits_w: 4 cluster: [{TABLE}] {DATA}"),
            "AM613",
            "4:104",
            "layer `up`: has 16 levels in `cluster`, where 64 must be",
            "write 16 for each `scale_w`, in the same order",
        ),
        (
            entry("fc", f"scale_w: 1 num_bits_w: 4 cluster: [128, {TABLE[4:]}] {DATA}"),
            "AM622",
            "4:40",
            "layer `fc`: has the level 128 in `cluster`; levels are -128 to 127",
            "levels are weights as integers of 8 bits: the weight divided by its `scale_w`",
        ),
        (
            entry("fc", f"scale_w: 1 num_bits_w: 4 cluster: [-129, {TABLE[4:]}] {DATA}"),
            "AM622",
            "4:40",
            "layer `fc`: has the level -129 in `cluster`; levels are -128 to 127",
            "levels are weights as integers of 8 bits: the weight divided by its `scale_w`",
        ),
        (
            entry("pool", f"cluster: [{TABLE}] {DATA}"),
            "AM621",
            "4:15",
            "layer `pool`: has levels for weights, and a Pooling layer has none that are quantized",
            "take `cluster` out",
        ),
        (
            entry("fc", f"scale_w: 1 num_bits_w: 3 cluster: [{TABLE}] {DATA}"),
            "AM618",
            "4:28",
            "layer `fc`: has the `num_bits_w` 3; weights are quantized to 8 bits, or to 4 with a `cluster`",
            "write 8",
        ),
    ],
)
def test_levels_that_do_not_fit_are_told_at_their_place(
    graph: Graph, text: str, code: str, place: str, message: str, help: str
) -> None:
    (told,) = found(graph, text)
    assert (told.code, str(told.span), told.message) == (code, f"record.txt:{place}", message)
    assert told.help == help


def test_the_weights_of_a_recurrent_layer_have_no_levels(tmp_path: Path) -> None:
    recurrent = make_net(tmp_path, with_everything("LSTM"))
    (name,) = (node.name for node in recurrent.nodes if node.type == "LSTM")
    told = found(recurrent, entry(name, f"scale_w: [1, 1, 1] num_bits_w: 4 cluster: [{TABLE}] {DATA}"))
    (mine,) = (problem for problem in told if problem.code == "AM618")
    assert mine.message == f"layer `{name}`: has the `num_bits_w` 4; weights are quantized to 8 bits"


def test_a_level_beyond_32_bits_does_not_fit_the_schema(graph: Graph) -> None:
    with pytest.raises(DiagnosticError, match="AM11"):
        parse_record(SourceFile("record.txt", entry("fc", "cluster: 99999999999")))


# -- quantizing with them ------------------------------------------------------------------------


def test_the_policy_of_a_record_annotates_clustered_layers_so(graph: Graph) -> None:
    text = entry("fc", f"scale_w: 1 num_bits_w: 4 cluster: [{TABLE}] {DATA}")
    text += entry("up", f"scale_w: [1, 1, 1, 1] num_bits_w: 4 cluster: [{', '.join([TABLE] * 4)}] {DATA}")
    text += entry("wide", f"scale_w: [1, 1, 1, 1, 1, 1] {DATA}") + entry("first", f"scale_w: 1 {DATA}")
    resolved = resolve(policy_of(parse_record(SourceFile("record.txt", text)), graph), graph)
    said = {name: config.weight_settings for name, config in resolved.layers.items() if config.quant_enable.value}
    told = {name: (s.algorithm, s.bits, s.channel_wise) for name, s in said.items() if s is not None}
    assert told == {
        "fc": ("snq_quantize", 4, False),
        "up": ("snq_quantize", 4, True),
        "wide": ("arq_quantize", 8, True),
        "first": ("arq_quantize", 8, True),  # as without a record; its scale says that it has one
    }


def test_a_record_with_levels_gives_the_same_files_again(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, NET)
    graph = load_model(prototxt, weights)
    quantize(graph, random_feeds(graph, 1), SNQ)
    record = tmp_path / "record.txt"
    record.write_text(scale_offset_record(graph), encoding="utf-8")
    result = convert(prototxt, weights, record=record, output=tmp_path / "again")
    for name in ("wide", "up", "fc"):
        assert (result.graph.node(name).weights["weight"] == graph.node(name).weights["weight"]).all()
        assert result.graph.node(f"{name}.dequant").attrs["bits"] == 4
    assert (tmp_path / "again_scale_offset_record.txt").read_text(encoding="utf-8") == record.read_text(
        encoding="utf-8"
    )
    again = load_model(tmp_path / "again_deploy_model.prototxt", tmp_path / "again_deploy_weights.caffemodel")
    assert all((again.node(n).weights["weight"] == graph.node(n).weights["weight"]).all() for n in ("wide", "up", "fc"))


def test_weights_go_to_the_nearest_level_that_the_record_has(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, NET)
    steps = load_model(prototxt, weights).node("fc").weights["weight"].astype(np.float64) / np.float32(0.0125)
    levels = np.array([5, -90, 31, -7, 0, 64, 12, -30, 100, -55, 0, 0, 0, 0, 0, 0])
    record = tmp_path / "record.txt"
    listed = ", ".join(map(str, levels.tolist()))
    record.write_text(entry("fc", f"scale_w: 0.0125 num_bits_w: 4 cluster: [{listed}] {DATA}"), encoding="utf-8")
    result = convert(prototxt, weights, record=record, output=tmp_path / "again")
    values = result.graph.node("fc").weights["weight"]
    errors = np.abs(steps[..., np.newaxis] - levels)
    mine = np.abs(steps - values.astype(np.float64))
    assert set(values.reshape(-1).tolist()) <= set(levels.tolist())
    assert mine == pytest.approx(errors.min(axis=-1))
