"""Binary nets: their structure is that of the prototxt they were written from, their weights come along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.frontends import load_model
from amctc.ir import Graph
from tests.nets import conv, data, layer, write_net
from tests.shared_files import GOLDEN, needs_golden

LEGACY = GOLDEN / "caffe" / "legacy"


def serialized(text: str) -> bytes:
    content: bytes = text_format.Parse(text, caffe_schema().message(NET)()).SerializeToString()
    return content


def said(graph: Graph) -> list[tuple[object, ...]]:
    return [
        (n.name, n.op, n.attrs, [v.name for v in n.inputs], [v.blob for v in n.outputs], list(n.weights))
        for n in graph.nodes
    ]


TEXT = (
    'name: "net" state { stage: "x" } force_backward: true\n'
    + data()
    + conv("c", "data", 4, more="pad: 1 weight_filler { type: 'xavier' }")
    + layer("bn", "BatchNorm", "c", "c", "batch_norm_param { eps: 1e-4 } param { lr_mult: 0 }")
    + layer("träge", "ReLU", "c", "c", "relu_param { negative_slope: 0.1 } include { stage: 'x' }")
)


@pytest.mark.parametrize("name", ["net.binaryproto", "net.pb", "net.caffemodel", "net.prototxt"])
def test_a_binary_net_is_the_graph_of_its_prototxt(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.prototxt").write_text(TEXT, encoding="utf-8")
    path = tmp_path / name
    path.write_bytes(serialized(TEXT))
    text, binary = load_model(tmp_path / "text.prototxt"), load_model(path)
    assert said(binary) == said(text)
    assert binary.attrs == text.attrs == {"state": {"stage": ("x",)}, "force_backward": True}


def test_a_binary_net_brings_its_weights_unless_others_are_given(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, data() + conv("c", "data", 4))
    net: Any = caffe_schema().message(NET).FromString(weights.read_bytes())
    text_format.Merge(data(), net)
    net.layer[0].bottom.append("data")
    net.layer[0].top.append("c")
    net.layer[0].type = "Convolution"
    net.layer[0].phase = 0  # as the snapshot of a training run has it
    net.layer[0].convolution_param.num_output = 4
    net.layer[0].convolution_param.kernel_size.append(3)
    ordered = [net.layer[1], net.layer[0]]
    whole: Any = caffe_schema().message(NET)()
    whole.layer.extend(ordered)
    path = tmp_path / "whole.caffemodel"
    path.write_bytes(whole.SerializeToString())
    expected = load_model(prototxt, weights).node("c").weights["weight"]
    found = load_model(path)
    assert found.node("c").weights["weight"].tolist() == expected.tolist()
    assert "phase" not in found.node("c").attrs
    whole.layer[1].blobs[0].data[0] += 1
    path.write_bytes(whole.SerializeToString())
    assert load_model(path, weights).node("c").weights["weight"].tolist() == expected.tolist()


@needs_golden
@pytest.mark.parametrize("name", ["plain", "v1_lenet_v1_model", "v0_net_v0_model", "batch_norm_three_params"])
def test_recorded_caffemodels_are_nets(name: str) -> None:
    text = load_model(LEGACY / f"{name}.prototxt", LEGACY / f"{name}.caffemodel")
    binary = load_model(LEGACY / f"{name}.caffemodel")
    assert [(node.name, node.op) for node in binary] == [(node.name, node.op) for node in text]
    for node in text:
        for role, array in node.weights.items():
            assert binary.node(node.name).weights[role].tolist() == array.tolist()


def test_a_caffemodel_of_weights_alone_is_refused(tmp_path: Path) -> None:
    _, weights = write_net(tmp_path, data() + conv("c", "data", 4))
    with pytest.raises(DiagnosticError, match=r"AM330.*alone.*\n.*\n.*prototxt first"):
        load_model(weights)


def test_fields_without_a_name_are_warned_of_once(tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    unknown = b"\xf0\xbb\x04\x01"  # field 9150
    layers = (data(), conv("c", "data", 4), conv("d", "c", 4))
    path.write_bytes(b"".join(_with_field(serialized(text), unknown) for text in layers))
    collector = Collector()
    load_model(path, collector=collector)
    assert [(d.code, d.message) for d in collector.warnings] == [
        ("AM304", "field number 9150 of LayerParameter is not known and left out (3 times)")
    ]


def _with_field(net: bytes, field: bytes) -> bytes:
    """A net of one layer with a field put at the end of the layer."""
    assert net[:2] == b"\xa2\x06"
    assert net[2] + len(field) < 128
    return net[:2] + bytes([net[2] + len(field)]) + net[3:] + field


def test_a_mistake_in_a_binary_net_is_shown_in_its_text(tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    path.write_bytes(serialized(data() + layer("r", "ReLu", "data", "r")))
    with pytest.raises(DiagnosticError, match=r"AM307.*\n  --> .*net.pb \(as text\):\d+:\d+\n.*\"ReLu\""):
        load_model(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"not a net",
        b"\xa2\x06\x7f",
        b"\xa2\x06\x02\x3a\x05",
        b"\x0a\x02\xff\xfe\xa2\x06\x06\x1a\x01\xff\x22\x01a",
    ],
)
def test_what_is_no_binary_net_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    path.write_bytes(content)
    with pytest.raises(DiagnosticError, match=r"AM3\d\d|AM1\d\d"):
        load_model(path)


def test_a_structure_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pb"
    path.write_bytes(serialized(layer("r" * 1_000_000, "ReLU", "data", "r")) * 5)
    with pytest.raises(DiagnosticError, match="AM311"):
        load_model(path)
