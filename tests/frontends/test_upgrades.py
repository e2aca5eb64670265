"""V0 and V1 files, old `input` fields and BatchNorm params: our upgrade and Caffe's own are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.caffe.blob_proto import read_blob_file
from amctc.frontends.caffe import NetState, load_caffe
from amctc.frontends.caffe.layer_def import LayerDef
from amctc.frontends.caffe.net import read_net
from amctc.frontends.caffe.upgrade_v1 import V1_TYPES
from amctc.frontends.caffe.weights import read_weights
from amctc.text.proto_schema import load_schema
from tests.shared_files import GOLDEN, needs_golden

LEGACY = GOLDEN / "caffe" / "legacy"
UPGRADED = ".upgraded.prototxt"
NETS = sorted(path.name.removesuffix(UPGRADED) for path in LEGACY.glob(f"*{UPGRADED}") if "solver" not in path.name)
MODELS = ("v0_net_v0_model", "v1_lenet_v1_model")


def said(layer: LayerDef) -> tuple[object, ...]:
    """A layer without its places."""
    tops, bottoms = [top.name for top in layer.tops], [bottom.name for bottom in layer.bottoms]
    return layer.name, layer.type, bottoms, tops, layer.attrs


@needs_golden
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
@pytest.mark.parametrize("name", NETS)
def test_our_upgrade_is_caffes(name: str, phase: Literal["TEST", "TRAIN"]) -> None:
    state = NetState(phase, stages=frozenset(["val"]))
    collector = Collector()
    ours = read_net(LEGACY / f"{name}.prototxt", collector, state)
    theirs = read_net(LEGACY / f"{name}{UPGRADED}", Collector(), state)
    assert [said(layer) for layer in ours.layers] == [said(layer) for layer in theirs.layers]
    assert ours.name == theirs.name
    assert not collector.diagnostics


@needs_golden
def test_there_is_a_recorded_upgrade_of_every_kind() -> None:
    assert len(NETS) == 9


@needs_golden
@pytest.mark.parametrize("name", MODELS)
def test_old_weights_are_those_of_caffes_upgrade(name: str) -> None:
    ours, theirs = read_weights(LEGACY / f"{name}.caffemodel"), read_weights(LEGACY / f"{name}.upgraded.caffemodel")
    used = {layer: blobs for layer, blobs in ours.items() if blobs}
    assert used.keys() == {layer for layer, blobs in theirs.items() if blobs}
    for layer, blobs in used.items():
        assert [blob.tolist() for blob in blobs] == [blob.tolist() for blob in theirs[layer]]


@needs_golden
def test_a_mean_image_is_read() -> None:
    with np.load(LEGACY / "mean.npz") as recorded:
        (name,) = recorded.files
        expected = recorded[name]
    found = read_blob_file(LEGACY / "mean.binaryproto")
    assert found.reshape(expected.shape).tolist() == expected.tolist()


@needs_golden
def test_weights_in_hdf5_are_refused() -> None:
    with pytest.raises(DiagnosticError, match=r"AM311.*HDF5"):
        load_caffe(LEGACY / "plain_hdf5.prototxt", LEGACY / "plain_hdf5.caffemodel.h5")


def test_every_v1_type_of_the_schema_has_a_type_today() -> None:
    values = load_schema("caffe.proto").descriptor("caffe.V1LayerParameter").enum_types_by_name["LayerType"].values
    assert {value.name for value in values} == set(V1_TYPES)


HEAD = 'input: "data" input_dim: 1 input_dim: 2 input_dim: 6 input_dim: 6\n'
PADDED = HEAD + 'layers { layer { name: "p" type: "padding" pad: 2 } bottom: "data" top: "p" }\n'


def refused(folder: Path, text: str) -> str:
    path = folder / "old.prototxt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PADDED + 'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }', "before `conv` and `pool` only"),
        (PADDED + 'layers { layer { name: "q" type: "padding" } bottom: "p" top: "q" }', "not before `padding`"),
        (PADDED + 'layers { layer { name: "c" type: "conv" } bottom: "p" bottom: "p" top: "c" }', "read one blob each"),
        (HEAD + 'layers { layer { name: "c" type: "conf" } bottom: "data" top: "c" }', "did you mean `conv`?"),
        (HEAD + 'layers { layer { name: "c" } bottom: "data" top: "c" }', "`` is not a layer type of V0 files"),
        (HEAD + 'layers { name: "c" type: CONVOLUTON bottom: "data" top: "c" }', "did you mean `CONVOLUTION`?"),
        (HEAD + 'layers { name: "c" type: "Convolution" bottom: "data" top: "c" }', "must be one word of its enum"),
        ('input: "a" input: "b" input_shape { dim: 1 }', "2 inputs need as many `input_shape`"),
        ('input: "a" input_dim: 1 input_dim: 2', "1 inputs need 4 `input_dim`"),
        ('input: "a" input_dim: 1 input_shape { dim: 1 }', "both `input_dim` and `input_shape`"),
    ],
)
def test_an_old_file_is_refused_at_the_place_that_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    message = refused(tmp_path, text)
    assert words in message
    assert f"old.prototxt:{text.count(chr(10)) + 1}:" in message


def test_fields_that_the_upgrade_loses_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "old.prototxt"
    path.write_text(
        HEAD + 'layers { layer { name: "r" type: "relu" kernelsize: 3 new_num: 2 } bottom: "data" top: "r" }'
    )
    collector = Collector()
    graph = load_caffe(path, collector=collector)
    assert graph.node("r").attrs == {}
    assert [(d.code, d.span is not None and d.span.text) for d in collector.warnings] == [
        ("AM304", "kernelsize"),
        ("AM304", "new_num"),
    ]


def test_unknown_fields_of_old_layers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.prototxt"
    path.write_text(
        HEAD
        + 'layers { name: "a" type: RELU bottom: "data" top: "a" mine: 3 }\n'
        + 'layers { name: "b" type: POWER bottom: "a" top: "b" power_param { scale: 2 other: "x" } }\n'
    )
    collector = Collector()
    graph = load_caffe(path, collector=collector)
    assert graph.node("a").attrs == {"mine": 3}
    assert graph.node("b").attrs == {"power_param": {"scale": 2.0, "other": "x"}}
    assert [warning.code for warning in collector.warnings] == ["AM304", "AM304"]
