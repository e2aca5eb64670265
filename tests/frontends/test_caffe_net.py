"""What the Caffe frontend makes of a prototxt, and how it refuses a bad one."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError
from amctc.frontends import load_model
from amctc.frontends.caffe import load_caffe
from amctc.frontends.caffe.binary_net import MAX_TEXT
from tests.nets import conv, data, layer


def write(folder: Path, text: str) -> Path:
    path = folder / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(write(folder, text))
    return list(caught.value.diagnostics)


def test_in_place_layers_become_values_of_one_blob_name(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + layer("relu", "ReLU", "c", "c") + layer("pool", "Softmax", "c", "p")
    graph = load_caffe(write(tmp_path, text))
    assert [value.blob for node in graph.nodes for value in node.outputs] == ["data", "c", "c", "p"]
    assert graph.node("pool").inputs == (graph.node("relu").output,)
    assert [value.blob for value in graph.outputs] == ["p"]


def test_every_node_knows_its_line(tmp_path: Path) -> None:
    graph = load_caffe(write(tmp_path, data() + conv("c", "data", 4)))
    assert str(graph.node("c").origin) == f"{tmp_path / 'net.prototxt'}:2"


@pytest.mark.parametrize(
    "head",
    [
        'input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 8\n',
        'input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 8 }\n',
    ],
)
def test_legacy_inputs_become_an_input_layer(head: str, tmp_path: Path) -> None:
    graph = load_caffe(write(tmp_path, head + conv("c", "data", 4)))
    assert [(node.name, node.type) for node in graph.nodes] == [("input", "Input"), ("c", "Convolution")]
    assert graph.node("input").output.shape == (2, 3, 8, 8)
    assert graph.node("input").output.blob == "data"


def test_only_layers_of_phase_test_are_kept(tmp_path: Path) -> None:
    text = (
        data()
        + layer("a", "ReLU", "data", "a", "include { phase: TRAIN }")
        + layer("b", "ReLU", "data", "b", "include { phase: TEST }")
        + layer("c", "ReLU", "data", "c", "exclude { phase: TEST }")
        + layer("d", "ReLU", "data", "d", "exclude { phase: TRAIN }")
        + layer("e", "ReLU", "data", "e", "include { phase: TEST stage: 'deploy' }")
        + layer("f", "ReLU", "data", "f", "include { min_level: 1 }")
    )
    graph = load_caffe(write(tmp_path, text))
    assert [node.name for node in graph.nodes] == ["data", "b", "d"]


def test_training_layers_are_left_out_with_a_warning(tmp_path: Path) -> None:
    text = (
        data("2 3")
        + data("2", "label")
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" }'
    )
    collector = Collector()
    graph = load_caffe(write(tmp_path, text), collector=collector)
    assert "loss" not in graph
    assert [warning.code for warning in collector.warnings] == ["AM306"]


def test_training_layers_are_kept_if_asked_for_and_a_loss_has_a_top_even_if_it_names_none(tmp_path: Path) -> None:
    text = (
        data("2 3")
        + data("2", "label")
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" }'
    )
    graph = load_caffe(write(tmp_path, text), keep_training=True)
    assert [value.blob for value in graph.node("loss").outputs] == ["loss"]
    assert [value.blob for value in graph.outputs] == ["loss"]


def test_what_reads_the_top_of_a_training_layer_is_left_out_with_it(tmp_path: Path) -> None:
    text = (
        data("2 3")
        + data("2", "label")
        + layer("loss", "SoftmaxWithLoss", "data label", "loss")
        + 'layer { name: "quiet" type: "Silence" bottom: "loss" }'
    )
    collector = Collector()
    graph = load_caffe(write(tmp_path, text), collector=collector)
    assert [node.name for node in graph.nodes] == ["data", "label"]
    assert ["reads `loss`" in warning.message for warning in collector.warnings] == [False, True]


def test_an_unknown_field_is_kept_and_warned_of(tmp_path: Path) -> None:
    collector = Collector()
    graph = load_caffe(
        write(tmp_path, data() + layer("r", "ReLU", "data", "r", "relu_param { negative_slop: 0.1 }")),
        collector=collector,
    )
    (warning,) = collector.warnings
    assert warning.code == "AM304"
    assert warning.help == "did you mean `negative_slope`?"
    assert graph.node("r").attrs == {"relu_param": {"negative_slop": 0.1}}


@pytest.mark.parametrize(
    ("text", "code", "line", "words", "help"),
    [
        (data() + layer("c", "Convolutoin", "data", "c"), "AM307", 2, "unknown type `Convolutoin`", "`Convolution`"),
        (data() + layer("c", "ReLU", "dta", "c"), "AM308", 2, "blob `dta`, which no layer produces", "`data`"),
        (
            data() + layer("a", "ReLU", "b", "a") + layer("b", "ReLU", "data", "b"),
            "AM308",
            2,
            "before `b` produces it",
            "order of the file",
        ),
        (
            data() + layer("a", "Eltwise", "data b", "a") + layer("b", "ReLU", "a", "b"),
            "AM309",
            2,
            "`a` and `b` form a cycle",
            None,
        ),
        (data() + layer("a", "ReLU", "data", "a") * 2, "AM305", 3, "two layers named `a`", None),
        (
            data() + layer("a", "ReLU", "data", "x") + layer("b", "ReLU", "data", "x"),
            "AM315",
            3,
            "produced by `a` and again by `b`",
            None,
        ),
        (
            data() + conv("c", "data", 4) + layer("a", "ReLU", "c", "a") + layer("b", "ReLU", "c", "c"),
            "AM315",
            4,
            "in place, which another layer reads",
            "top of its own",
        ),
        (data() + layer("s", "Eltwise", "data", "s"), "AM316", 2, "takes at least 2 bottoms, this one has 1", None),
        (data() + conv("c", "data", 4, kernel=20), "AM320", 2, "20", None),
        (
            data() + layer("a", "ReLU", "data", "a", "include { phase: TEST } exclude { phase: TRAIN }"),
            "AM302",
            2,
            "both include and exclude",
            None,
        ),
        (data() + 'layers { name: "a" type: RELU bottom: "data" top: "a" }', "AM300", 2, "the V1 form", "layer {"),
        (data() + layer("a", "Python", "data", "a"), "AM321", 2, "runs Python code", "by Caffe layers"),
        (
            data("2 3", "a") + data("2 3", "b") + layer("s", "Eltwise", "a b", "b"),
            "AM315",
            3,
            "produced by `b` and again by `s`",
            None,
        ),
        (
            data() + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "a" }',
            "AM315",
            2,
            "two tops named `a`",
            None,
        ),
        (
            data() + layer("a", "ReLU", "data", "a", "loss_weight: 1 loss_weight: 0"),
            "AM316",
            2,
            "2 `loss_weight`",
            None,
        ),
        (
            data()
            + layer("a", "InnerProduct", "data", "a", 'param { name: "w" } inner_product_param { num_output: 2 }')
            + layer("b", "InnerProduct", "data", "b", 'param { name: "w" } inner_product_param { num_output: 3 }'),
            "AM317",
            3,
            "shares the parameter `w` with `a`",
            None,
        ),
    ],
)
def test_a_bad_net_is_refused_at_its_line(
    text: str, code: str, line: int, words: str, help: str | None, tmp_path: Path
) -> None:
    found = next(d for d in refused(tmp_path, text) if d.code == code)
    assert words in found.message
    assert found.span is not None
    assert found.span.line == line
    if help is not None:
        assert help in (found.help or "")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = data() + layer("a", "Relu", "data", "a") + layer("b", "ReLU", "nowhere", "b") + layer("b", "ReLU", "a", "c")
    assert [d.code for d in refused(tmp_path, text)] == ["AM307", "AM308", "AM305"]


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM331"):
        load_model(tmp_path / "model.h5")
    with pytest.raises(DiagnosticError, match=r"AM310.*no such file"):
        load_model(tmp_path / "model.caffemodel")
    with pytest.raises(DiagnosticError, match="AM100"):
        load_model(tmp_path / "missing.prototxt")


def test_a_net_of_no_layers_is_refused(tmp_path: Path) -> None:
    assert [d.code for d in refused(tmp_path, 'name: "empty"')] == ["AM301"]


def test_reading_a_net_leaves_the_garbage_collector_as_it_was(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.prototxt", tmp_path / "bad.prototxt"
    good.write_text(data(), encoding="utf-8")
    bad.write_text(data() + data(), encoding="utf-8")
    for enabled in (False, True):
        (gc.enable if enabled else gc.disable)()
        load_model(good)
        with pytest.raises(DiagnosticError):
            load_model(bad)
        assert gc.isenabled() == enabled


def test_a_prototxt_larger_than_any_net_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"\n" * (MAX_TEXT + 1))
    with pytest.raises(DiagnosticError, match=r"AM102.*is larger than the 8388608 bytes that are read"):
        load_model(path)


def test_many_mistakes_on_one_line_are_each_shown_in_place(tmp_path: Path) -> None:
    found = refused(tmp_path, "".join(f'layer {{ name: "{number}" type: "No" }} ' for number in range(300)))
    assert len(found) == 300
    for number, told in enumerate(found):
        *_, excerpt, carets, _ = str(told).splitlines()
        column = carets.index("^")
        assert excerpt[: column + 4].endswith('"No"')
        assert f'name: "{number}"' in excerpt
