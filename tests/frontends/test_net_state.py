"""Phase, level and stages: which layers are there, and in which phase they compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends.caffe import NetState, load_caffe
from amctc.frontends.caffe.net import read_net
from amctc.targets.caffe.files import prototxt
from tests.nets import data, layer
from tests.shared_files import GOLDEN, needs_golden

RULES = GOLDEN / "caffe" / "rules"


def recorded() -> list[Any]:
    path = RULES / "rules.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def state_of(case: Any) -> NetState:
    return NetState(case["phase"], case["level"], frozenset(case["stages"]))


@needs_golden
def test_the_layers_of_every_state_are_caffes() -> None:
    assert len(recorded()) == 52
    for case in recorded():
        net = read_net(RULES / case["file"], Collector(), state_of(case))
        assert [layer.name for layer in net.layers] == case["layers"], case


@needs_golden
def test_the_outputs_and_shapes_of_every_state_are_caffes() -> None:
    for case in recorded():
        graph = load_caffe(RULES / case["file"], state=state_of(case), keep_training=True)
        blobs = {value.blob: value.shape for node in graph for value in node.outputs}
        assert blobs["data"] == tuple(case["data_shape"]), case
        read = {use.blob for node in graph for use in node.inputs}
        assert sorted(set(blobs) - read) == case["outputs"], case


@needs_golden
def test_an_exported_net_is_the_same_net_in_the_same_phase(tmp_path: Path) -> None:
    for case in recorded():
        state = state_of(case)
        graph = load_caffe(RULES / case["file"], state=state, keep_training=True)
        copy = tmp_path / "copy.prototxt"
        copy.write_text(prototxt(graph), encoding="utf-8")
        # The stages are in the file now; phase and level are always the caller's.
        again = load_caffe(copy, state=NetState(state.phase, state.level), keep_training=True)
        assert [(node.name, node.attrs) for node in again] == [(node.name, node.attrs) for node in graph]
        assert again.attrs == graph.attrs


def test_in_phase_train_every_layer_says_so_unless_it_has_a_phase_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data() + layer("a", "ReLU", "data", "a") + layer("b", "ReLU", "a", "b", "phase: TEST"))
    train = load_caffe(path, state=NetState("TRAIN"))
    assert [node.attrs.get("phase") for node in train] == ["TRAIN", "TRAIN", "TEST"]
    test = load_caffe(path)
    assert [node.attrs.get("phase") for node in test] == [None, None, "TEST"]


def test_a_layers_own_phase_does_not_remove_it(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data() + layer("a", "ReLU", "data", "a", "phase: TRAIN"))
    assert load_caffe(path).node("a").attrs == {"phase": "TRAIN"}


@pytest.mark.parametrize(
    ("written", "state", "described"),
    [
        ("", NetState(), None),
        ("", NetState("TRAIN", 2, frozenset("ba")), {"phase": "TRAIN", "level": 2, "stage": ("a", "b")}),
        ("state { phase: TRAIN level: 3 stage: 'x' }", NetState(), {"phase": "TEST", "level": 0, "stage": ("x",)}),
        ("state { stage: 'x' }", NetState(stages=frozenset(["y", "x"])), {"stage": ("x", "y")}),
    ],
)
def test_the_graph_says_what_state_it_is_of(written: str, state: NetState, described: object, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(written + data())
    assert load_caffe(path, state=state).attrs.get("state") == described


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('include { stage: "deploy" }', "`maker` produces it with stage `deploy` (`--stage deploy`)"),
        ("include { phase: TRAIN min_level: 2 }", "`maker` produces it in phase TRAIN, from level 2 on (`--level 2`)"),
        ("include { max_level: -1 }", "`maker` produces it up to level -1 (`--level -1`)"),
        ('include { not_stage: "fast" }', "`maker` produces it without stage `fast`"),
        ("exclude { phase: TEST }", "`maker` produces it where its `exclude` rules allow it"),
    ],
)
def test_a_blob_whose_producer_is_left_out_names_it(rules: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data(name="other") + layer("maker", "ReLU", "other", "x", rules) + layer("l", "TanH", "x", "y"))
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(path, state=NetState(stages=frozenset({"fast"})))
    (told,) = caught.value.diagnostics
    assert (told.code, told.help) == ("AM308", words)
