"""Records against a model: every mistake at its place, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError
from amctc.ir import Graph
from amctc.records.check_record import validate
from amctc.records.read_record import parse_record
from amctc.source import SourceFile
from tests.nets import conv, data, layer, make_net
from tests.runtime.test_recurrent_layers import net, with_everything

NET = (
    data("2 3 8 8")
    + conv("conv1", "data", 4)
    + layer("bn", "BatchNorm", "data", "bn", "batch_norm_param { use_global_stats: true }")
    + layer("pool", "Pooling", "bn", "pool", "pooling_param { pool: AVE kernel_size: 3 stride: 1 }")
    + conv("conv2", "data", 4)
    + layer("sum", "Eltwise", "conv1 conv2", "sum")
    + layer("fc", "InnerProduct", "sum", "fc", "inner_product_param { num_output: 5 }")
    + 'layer { name: "hush" type: "Silence" bottom: "pool" }'
)

DATA = "record_d { index: 0 scale_d: 0.5 offset_d: -3 }"
FC = f'record {{ key: "fc" value {{ scale_w: 0.25 offset_w: 0 {DATA} }} }}'


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return make_net(tmp_path_factory.mktemp("net"), NET)


def found(graph: Graph, text: str) -> list[Diagnostic]:
    """Errors and warnings for a record."""
    collector = Collector()
    try:
        validate(parse_record(SourceFile("record.txt", text)), graph, collector)
    except DiagnosticError as mistakes:
        return list(mistakes.diagnostics)
    return collector.diagnostics


def entry(key: str, value: str) -> str:
    return f'record {{\n  key: "{key}"\n  value {{\n    {value}\n  }}\n}}\n'


@pytest.mark.parametrize(
    "text",
    [
        FC,
        entry("conv1", f"scale_w: 0.25 offset_w: 0 {DATA}"),
        entry("conv1", f"scale_w: 0.25 {DATA}"),
        entry("conv1", f"scale_w: [1, 2, 3, 4] offset_w: [0, 0, 0, 0] num_bits_w: 8 shift_bit: [0, 0] {DATA}"),
        entry("conv1", "scale_w: 1 scale_d: 0.5 offset_d: 127 channels: 3 height: 8 width: 8"),
        entry("pool", f"scale_w: 1.0 offset_w: 0 {DATA}"),
        entry("pool", "record_d { index: 0 scale_d: 8e6 offset_d: -32768 num_bits_d: 16 }"),
        entry("sum", f"{DATA} record_d {{ index: 1 scale_d: 1.2e-7 offset_d: 0 }}"),
        entry("bn_depthwise", f"scale_w: [1, 1, 1] {DATA}"),
        FC + entry("conv1", "skip_fusion: true"),
        FC + entry("bn", "skip_fusion: true"),
    ],
)
def test_a_record_that_fits_is_taken(graph: Graph, text: str) -> None:
    assert found(graph, text) == []


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "help"),
    [
        (entry("fc7", DATA), "AM610", "2:8", "the model has no layer `fc7`", "did you mean `fc`?"),
        (entry("zzzzzz", DATA), "AM610", "2:8", "the model has no layer `zzzzzz`", None),
        (
            entry("fc_depthwise", DATA),
            "AM610",
            "2:8",
            "the model has no layer `fc_depthwise`",
            "no depthwise convolution can stand for `fc`: it must be a BatchNorm, Scale or Bias on a 4-D blob",
        ),
        (
            entry("hush", DATA),
            "AM611",
            "2:8",
            "layer `hush` is of type `Silence`, which cannot be quantized",
            "`amctc ops` lists the types that can be quantized",
        ),
        (
            entry("fc", f"scale_w: 1 {DATA} record_d {{ index: 1 scale_d: 1 offset_d: 0 }}"),
            "AM612",
            "4:82",
            "layer `fc`: has factors for input 1, which is no data input",
            "its data inputs have the index 0",
        ),
        (
            entry("conv1", f"scale_w: [1, 2, 3] {DATA}"),
            "AM613",
            "4:21",
            "layer `conv1`: has 3 `scale_w`, where 1 or 4 must be",
            None,
        ),
        (
            entry("fc", f"scale_w: [1, 2, 3, 4, 5] {DATA}"),
            "AM613",
            "4:27",
            "layer `fc`: has 5 `scale_w`, where 1 must be",
            None,
        ),
        (
            entry("conv1", f"scale_w: [1, 2, 3, 4] offset_w: 0 {DATA}"),
            "AM613",
            "4:37",
            "layer `conv1`: has 1 `offset_w` for 4 `scale_w`",
            "write one `offset_w: 0` for each `scale_w`",
        ),
        (
            entry("fc", f"scale_w: 1 offset_w: 1 {DATA}"),
            "AM615",
            "4:26",
            "layer `fc`: has the `offset_w` 1, and weights are quantized without an offset",
            "write 0",
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 scale_d: 1 offset_d: 128 }"),
            "AM616",
            "4:57",
            "layer `fc`: has the `offset_d` 128; with 8 bits it is -128 to 127",
            "an offset is on the signed grid: take 2^(bits - 1) off one that counts from 0",
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 scale_d: 1 offset_d: -2049 num_bits_d: 12 }"),
            "AM616",
            "4:57",
            "layer `fc`: has the `offset_d` -2049; with 12 bits it is -2048 to 2047",
            "an offset is on the signed grid: take 2^(bits - 1) off one that counts from 0",
        ),
        (
            entry("fc", f"scale_w: 1 shift_bit: 0 shift_bit: 2 {DATA}"),
            "AM617",
            "4:40",
            "layer `fc`: `shift_bit` is not supported",
            "leave `shift_bit` out, or write 0; scales must hold without a shift",
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 scale_d: 1 offset_d: 0 num_bits_d: 7 }"),
            "AM618",
            "4:71",
            "layer `fc`: has the `num_bits_d` 7; data have 8 to 16 bits",
            None,
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 scale_d: 1 offset_d: 0 num_bits_d: 2000000000 }"),
            "AM618",
            "4:71",
            "layer `fc`: has the `num_bits_d` 2000000000; data have 8 to 16 bits",
            None,
        ),
        (
            entry("fc", f"scale_w: 1 num_bits_w: 5 {DATA}"),
            "AM618",
            "4:28",
            "layer `fc`: has the `num_bits_w` 5; weights are quantized to 8 bits, or to 4 with a `cluster`",
            "write 8",
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 offset_d: 1 }"),
            "AM619",
            "4:25",
            "layer `fc`: the record has no `scale_d` for input 0",
            "add `scale_d: …`",
        ),
        (
            entry("fc", "scale_w: 1 record_d { index: 0 scale_d: 1 }"),
            "AM619",
            "4:25",
            "layer `fc`: the record has no `offset_d` for input 0",
            "add `offset_d: …`",
        ),
        (
            entry("sum", DATA),
            "AM619",
            "2:8",
            "layer `sum`: the record has no `scale_d` and `offset_d` for input 1",
            "add `record_d { scale_d: … offset_d: … index: 1 }`",
        ),
        (
            entry("conv1", DATA),
            "AM620",
            "2:8",
            "layer `conv1`: the record has no `scale_w` for its weights",
            "add `scale_w: …` and `offset_w: 0`, 1 or 4 of each",
        ),
        (
            entry("pool", f"scale_w: 0.5 {DATA}"),
            "AM621",
            "4:14",
            "layer `pool`: has factors for weights, and a Pooling layer has none that are quantized",
            "take `scale_w` and `offset_w` out",
        ),
        (
            FC + entry("pool", "skip_fusion: true"),
            "AM624",
            "4:18",
            "layer `pool` is of type `Pooling`, which is never fused",
            "take its `skip_fusion` out",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(
    graph: Graph, text: str, code: str, place: str, message: str, help: str | None
) -> None:
    (told,) = found(graph, text)
    assert (told.code, str(told.span), told.message) == (code, f"record.txt:{place}", message)
    assert told.help == help


@pytest.mark.parametrize("name", ["scale_d", "scale_w"])
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("nan", "nan"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("0", "0"),
        ("-0.5", "-0.5"),
        ("1e-50", "0"),
        ("1.192092896e-7", "1.19209e-07"),
        ("8388608", "8.38861e+06"),
    ],
)
def test_a_scale_is_positive_finite_and_neither_tiny_nor_huge(graph: Graph, name: str, number: str, shown: str) -> None:
    scales = {"scale_d": "1", "scale_w": "1", name: number}
    text = entry("fc", f"scale_w: {scales['scale_w']} scale_d: {scales['scale_d']} offset_d: 0")
    (told,) = found(graph, text)
    assert told.code == "AM614"
    assert told.message == (
        f"layer `fc`: has the `{name}` {shown}; a scale is a number above 1.19209e-07 and below 8.38861e+06"
    )
    assert told.span is not None and told.span.text == number and told.span.line == 4


@pytest.mark.parametrize("number", ["1.1920930e-7", "8388607"])
def test_scales_just_within_the_limits_are_taken(graph: Graph, number: str) -> None:
    assert found(graph, entry("fc", f"scale_w: {number} scale_d: {number} offset_d: 0")) == []


@pytest.mark.parametrize("text", ["", entry("conv1", "skip_fusion: true")])
def test_a_record_that_quantizes_nothing_is_refused(graph: Graph, text: str) -> None:
    (told,) = found(graph, text)
    assert (told.code, told.file, told.message) == ("AM605", "record.txt", "the record quantizes no layer")


def test_another_size_of_the_input_is_warned_of(graph: Graph) -> None:
    text = entry("conv1", "scale_w: 1 scale_d: 1 offset_d: 0 channels: 3 height: 9 width: 0")
    (told,) = found(graph, text)
    assert (told.code, told.level, str(told.span)) == ("AM606", "warning", "record.txt:4:59")
    assert told.message == "layer `conv1`: the record says `height: 9` of input 0, where this model has 8"


def test_all_mistakes_are_told_at_once(graph: Graph) -> None:
    text = entry("fc9", DATA) + entry("conv1", "scale_w: 0 offset_w: 3") + entry("hush", DATA)
    assert [told.code for told in found(graph, text)] == ["AM610", "AM614", "AM615", "AM619", "AM611"]


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_a_hidden_state_that_an_output_shows_needs_factors(kind: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, net(kind))
    weights = "scale_w: [1, 1, 1]" if kind == "RNN" else "scale_w: [1, 1]"
    told = found(graph, entry("rec", f"{weights} {DATA}"))
    if kind == "RNN":  # its output is another product of the state
        assert told == []
        return
    assert [each.message for each in told] == [
        "layer `rec`: the record has no `scale_d` and `offset_d` for its hidden state"
    ]
    assert found(graph, entry("rec", f"{weights} {DATA} record_d {{ index: 2 scale_d: 1 offset_d: 0 }}")) == []


def test_a_recurrent_layer_has_a_scale_for_each_product(tmp_path: Path) -> None:
    graph = make_net(tmp_path, with_everything("LSTM"))
    (told, *_) = found(graph, entry("rec", f"scale_w: 1 {DATA}"))
    assert told.message == "layer `rec`: has 1 `scale_w`, where 3 must be"
