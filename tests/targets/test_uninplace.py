"""Nets without in-place layers: the same numbers under names of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc import driver
from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends import load_model
from amctc.runtime.executor import graph_inputs, run_graph
from amctc.targets.caffe.uninplace import uninplaced
from tests.nets import conv, data, layer, make_net, write_net
from tests.quantized import outputs, quantize, random_feeds, write_and_read

CHAIN = (
    data("2 3 6 6")
    + conv("c", "data", 4, more="pad: 1")
    + layer("bn", "BatchNorm", "c", "c", "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }")
    + layer("relu", "ReLU", "c", "c")
    + layer("drop", "Dropout", "c", "c", "include { phase: TRAIN }")
    + layer("fc", "InnerProduct", "c", "fc", "inner_product_param { num_output: 3 }")
    + layer("test_only", "Softmax", "fc", "prob", "include { phase: TEST }")
)


def test_no_layer_of_the_new_net_works_in_place_and_every_number_is_the_same(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, CHAIN)
    output = tmp_path / "own_tops.prototxt"
    assert driver.uninplace_model(prototxt, output) == ()
    old, new = load_model(prototxt, weights), load_model(output, weights)
    assert [(node.name, node.op, node.attrs) for node in new] == [(node.name, node.op, node.attrs) for node in old]
    blobs = [value.blob for node in new for value in node.outputs]
    assert len(set(blobs)) == len(blobs)
    feeds = {"data": np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)}
    before, after = run_graph(old, feeds), run_graph(new, feeds)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_only_the_layers_of_phase_test_are_kept(tmp_path: Path) -> None:
    prototxt, _ = write_net(tmp_path, CHAIN)
    output = tmp_path / "own_tops.prototxt"
    driver.uninplace_model(prototxt, output)
    names = [node.name for node in load_model(output)]
    assert "drop" not in names
    assert "test_only" in names


def test_the_outputs_keep_their_names(tmp_path: Path) -> None:
    prototxt, _ = write_net(tmp_path, data() + conv("c", "data", 4) + layer("relu", "ReLU", "c", "c"))
    output = tmp_path / "own_tops.prototxt"
    driver.uninplace_model(prototxt, output)
    net = load_model(output)
    assert [value.blob for value in net.outputs] == ["c"]
    assert net.node("relu").output.blob == "c"


def test_an_input_keeps_its_name_where_its_reader_worked_in_place(tmp_path: Path) -> None:
    text = data("2 3 6 6") + layer("power", "Power", "data", "data", "power_param { scale: 0.5 }")
    graph = make_net(tmp_path, text + conv("c", "data", 4))
    feeds = random_feeds(graph, 0)
    expected = outputs(graph, feeds[0])
    output = tmp_path / "own_tops.prototxt"
    driver.uninplace_model(tmp_path / "net.prototxt", output)
    assert load_model(output).node("c").inputs[0].blob == "power"
    # Power is quantized too, so that it no longer reads the input itself.
    for written in write_and_read(quantize(graph, feeds), tmp_path):
        assert list(graph_inputs(written)) == ["data"]
        np.testing.assert_allclose(outputs(written, feeds[0])["c"], expected["c"], atol=0.1)


def test_an_eltwise_that_loses_an_input_in_place_is_warned_of(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 3, more="pad: 1") + layer("sum", "Eltwise", "c data", "c")
    prototxt, _ = write_net(tmp_path, text)
    collector = Collector()
    uninplaced(load_model(prototxt), collector)
    assert [warning.code for warning in collector.warnings] == ["AM720"]


def test_a_net_that_cannot_be_read_leaves_the_old_file_alone(tmp_path: Path) -> None:
    output = tmp_path / "own_tops.prototxt"
    output.write_text("old", encoding="utf-8")
    (tmp_path / "bad.prototxt").write_text("layer { name: 1", encoding="utf-8")
    with pytest.raises(DiagnosticError):
        driver.uninplace_model(tmp_path / "bad.prototxt", output)
    assert output.read_text(encoding="utf-8") == "old"
