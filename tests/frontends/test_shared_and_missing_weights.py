"""Parameters that layers share by name, and layers that the weights file lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.ir import Graph
from amctc.targets.caffe.files import caffemodel, prototxt
from amctc.text.proto_schema import load_schema
from tests.nets import conv, data, layer
from tests.shared_files import GOLDEN, needs_golden

LAYERS = GOLDEN / "caffe" / "layers"


def inner(name: str, bottom: str, outputs: int, param: str = "", more: str = "") -> str:
    parameter = f"{param} inner_product_param {{ num_output: {outputs} bias_term: false {more} }}"
    return layer(name, "InnerProduct", bottom, name, parameter)


def write(folder: Path, text: str, **blobs: list[list[float]]) -> tuple[Path, Path]:
    """A prototxt, and a caffemodel whose layers have one blob each, in the order given."""
    message: Any = load_schema("caffe.proto").message("caffe.NetParameter")()
    for name, rows in blobs.items():
        blob = message.layer.add(name=name).blobs.add()
        blob.shape.dim.extend([len(rows), len(rows[0])])
        blob.data.extend(number for row in rows for number in row)
    (folder / "net.prototxt").write_text(text, encoding="utf-8")
    (folder / "net.caffemodel").write_bytes(message.SerializeToString())
    return folder / "net.prototxt", folder / "net.caffemodel"


def weight(graph: Graph, name: str) -> Any:
    return graph.node(name).weights["weight"]


SHARED = 'param { name: "w" }'
TWO = data("1 2") + inner("a", "data", 2, SHARED) + inner("b", "a", 2, SHARED)


def test_layers_that_share_a_parameter_have_one_array(tmp_path: Path) -> None:
    graph = load_caffe(*write(tmp_path, TWO, a=[[1, 2], [3, 4]], b=[[1, 2], [3, 4]]))
    assert weight(graph, "a") is weight(graph, "b")


def test_one_copy_of_a_shared_parameter_is_enough(tmp_path: Path) -> None:
    for name in ("a", "b"):
        graph = load_caffe(*write(tmp_path, TWO, **{name: [[1.0, 2.0], [3.0, 4.0]]}))
        assert weight(graph, "a") is weight(graph, "b")
        assert weight(graph, "a").tolist() == [[1, 2], [3, 4]]


def test_of_several_copies_the_last_of_the_file_counts_as_caffe_copies_one_over_the_other(tmp_path: Path) -> None:
    graph = load_caffe(*write(tmp_path, TWO, b=[[5, 6], [7, 8]], a=[[1, 2], [3, 4]]))
    assert weight(graph, "b").tolist() == [[1, 2], [3, 4]]
    graph = load_caffe(*write(tmp_path, TWO, a=[[1, 2], [3, 4]], b=[[5, 6], [7, 8]]))
    assert weight(graph, "a").tolist() == [[5, 6], [7, 8]]


def test_a_permissive_share_is_a_view_of_another_shape(tmp_path: Path) -> None:
    permissive = 'param { name: "w" share_mode: PERMISSIVE }'
    text = data("1 3", "x") + data("1 2", "y") + inner("a", "x", 2, permissive) + inner("b", "y", 3, permissive)
    graph = load_caffe(*write(tmp_path, text, a=[[1, 2, 3], [4, 5, 6]]))
    assert weight(graph, "b").tolist() == [[1, 2], [3, 4], [5, 6]]
    assert np.shares_memory(weight(graph, "a"), weight(graph, "b"))


@needs_golden
@pytest.mark.parametrize("name", ["Net__shared_params", "Net__shared_params_permissive"])
def test_recorded_shares_survive_export(name: str, tmp_path: Path) -> None:
    graph = load_caffe(LAYERS / f"{name}.prototxt", LAYERS / f"{name}.caffemodel")
    copy, weights = tmp_path / "copy.prototxt", tmp_path / "copy.caffemodel"
    copy.write_text(prototxt(graph), encoding="utf-8")
    weights.write_bytes(caffemodel(graph, fake=False))
    again = load_caffe(copy, weights)
    assert np.shares_memory(weight(again, "fa"), weight(again, "fb"))
    assert again.node("fb").attrs == graph.node("fb").attrs


def test_a_share_that_a_pass_has_broken_is_not_written(tmp_path: Path) -> None:
    rates = 'param { name: "w" lr_mult: 2 }'
    text = data("1 2") + inner("a", "data", 2, rates) + inner("b", "a", 2, rates)
    graph = load_caffe(*write(tmp_path, text, a=[[1, 2], [3, 4]]))
    graph.node("b").weights["weight"] = weight(graph, "b") * 2
    copy, weights = tmp_path / "copy.prototxt", tmp_path / "copy.caffemodel"
    copy.write_text(prototxt(graph), encoding="utf-8")
    weights.write_bytes(caffemodel(graph, fake=False))
    again = load_caffe(copy, weights)
    assert weight(again, "b").tolist() == [[2, 4], [6, 8]]
    assert again.node("b").attrs["param"] == ({"lr_mult": 2.0},)


def test_a_layer_that_the_file_lacks_keeps_its_constant_fillers(tmp_path: Path) -> None:
    filler = 'weight_filler { type: "constant" value: 0.5 }'
    text = data("1 2") + inner("a", "data", 2) + inner("zz", "a", 1, more=filler)
    collector = Collector()
    graph = load_caffe(*write(tmp_path, text, a=[[1, 2], [3, 4]]), collector)
    assert weight(graph, "zz").tolist() == [[0.5, 0.5]]
    (warning,) = collector.warnings
    assert warning.code == "AM322"
    assert "`zz`" in warning.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Random fillers say nothing of what was trained.
        (inner("zz", "a", 1, more='weight_filler { type: "xavier" }'), "layer `zz` (InnerProduct): has no weights"),
        # A layer of the file that nothing uses has nearly this name.
        (inner("unused_1", "a", 1), "did you mean `unused`?"),
    ],
)
def test_a_layer_that_the_file_lacks_is_refused_if_it_must_have_been_trained(
    text: str, words: str, tmp_path: Path
) -> None:
    net = data("1 2") + inner("a", "data", 2) + text
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(*write(tmp_path, net, a=[[1, 2], [3, 4]], unused=[[1, 2]]))
    assert words in str(caught.value)


def test_a_file_with_none_of_the_nets_layers_is_the_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM313"):
        load_caffe(*write(tmp_path, data("1 2") + inner("a", "data", 2), something=[[1.0, 2.0]]))


def test_fillers_of_absurd_size_are_not_made(tmp_path: Path) -> None:
    text = data("1 2") + inner("a", "data", 2) + inner("zz", "a", 1_900_000_000)
    with pytest.raises(DiagnosticError, match="AM313"):
        load_caffe(*write(tmp_path, text, a=[[1, 2], [3, 4]]))


@needs_golden
@pytest.mark.parametrize("name", ["Net__fillers", "Deconvolution__bilinear_upsample", "PReLU__default_filler"])
def test_fillers_are_caffes(name: str, tmp_path: Path) -> None:
    """Without its caffemodel a net of such fillers has the very weights that Caffe recorded."""
    text = (LAYERS / f"{name}.prototxt").read_text(encoding="utf-8")
    extra = data("1 2", "other_data") + inner("trained", "other_data", 1)
    graph = load_caffe(*write(tmp_path, text + extra, trained=[[1.0, 2.0]]))
    with np.load(LAYERS / f"{name}.npz") as recorded:
        params = {key: recorded[key] for key in recorded.files if key.startswith("param/")}
    assert params
    for key, expected in params.items():
        _, node, index = key.split("/")
        assert list(graph.node(node).weights.values())[int(index)].tolist() == expected.tolist()


def test_weights_behind_an_input_of_unknown_shape_are_refused_with_the_way_out(tmp_path: Path) -> None:
    text = 'layer { name: "data" type: "Data" top: "data" }' + conv("c", "data", 1)
    with pytest.raises(DiagnosticError, match=r"AM319.*\n.*\n.*\n.*\n.*Input layer"):
        load_caffe(*write(tmp_path, text, c=[[1.0]]))
