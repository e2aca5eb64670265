"""What a file says of its layers and of the net is in the export of its graph, and in the graph of the export."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.frontends.caffe import NetState, load_caffe
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.source import SourceFile
from amctc.targets.caffe.files import prototxt
from tests.nets import conv, data, layer
from tests.shared_files import GOLDEN, needs_golden

LEGACY = GOLDEN / "caffe" / "legacy"

RICH = (
    'name: "rich" force_backward: true debug_info: false state { level: 0 stage: "deploy" }\n'
    'mine { a: 1 b: "x" } word: BARE\n'
    + data()
    + layer(
        "c",
        "Convolution",
        "data",
        "c",
        "param { name: 'w' lr_mult: 1.5 decay_mult: 0 } param { lr_mult: 2 } propagate_down: false loss_weight: 0.25 "
        "include { phase: TEST stage: 'deploy' min_level: -1 } include { not_stage: 'x' } phase: TEST "
        "convolution_param { num_output: 2 kernel_size: 3 odd: [1, 2] filler_x { y: 0.1 } } own_param { z: true }",
    )
    + layer("r", "ReLU", "c", "c", "exclude { phase: TRAIN max_level: 3 } relu_param { negative_slope: 0.1 }")
)


def said(graph: Graph) -> list[tuple[object, ...]]:
    return [
        (node.name, node.op, node.attrs, [value.name for value in node.inputs], [value.blob for value in node.outputs])
        for node in graph
    ]


def exported(graph: Graph, folder: Path) -> Path:
    path = folder / "exported.prototxt"
    path.write_text(prototxt(graph), encoding="utf-8")
    return path


def test_everything_that_was_written_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(RICH, encoding="utf-8")
    graph = load_caffe(path)
    again = load_caffe(exported(graph, tmp_path))
    assert said(again) == said(graph)
    assert again.name == graph.name
    assert again.attrs == graph.attrs
    assert list(graph.attrs) == ["force_backward", "debug_info", "state", "mine", "word"]
    text = prototxt(graph)
    for line in (
        "word: BARE",
        "lr_mult: 1.5",
        "propagate_down: false",
        "loss_weight: 0.25",
        'not_stage: "x"',
        "z: true",
    ):
        assert line in text
    assert prototxt(again) == text


def test_what_is_said_of_the_net_is_in_the_textual_form(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(RICH, encoding="utf-8")
    graph = load_caffe(path)
    assert parse_graph(SourceFile("graph", print_graph(graph))).attrs == graph.attrs


@needs_golden
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", ["v0_net", "v1_lenet", "batch_norm_three_params", "input_dim_two_inputs"])
def test_an_upgraded_net_survives_export(name: str, phase: str, tmp_path: Path) -> None:
    state = NetState("TRAIN" if phase == "TRAIN" else "TEST")
    graph = load_caffe(LEGACY / f"{name}.prototxt", state=state, keep_training=True)
    assert said(load_caffe(exported(graph, tmp_path), state=state, keep_training=True)) == said(graph)


def test_a_net_with_thousands_of_mistakes_is_refused_with_all_of_them(tmp_path: Path) -> None:
    """Nearest names and cycles are looked for only at first: each costs a walk over the net."""
    count = 3000
    path = tmp_path / "net.prototxt"
    path.write_text(data() + "".join(layer(f"l{i}", "Eltwise", f"b{i + 1} b{i + 2}", f"b{i}") for i in range(count)))
    with pytest.raises(Exception, match="AM308") as caught:
        load_caffe(path)
    assert str(caught.value).count("error[") >= count


def test_a_slice_of_thousands_of_tops_is_read(tmp_path: Path) -> None:
    count = 3000
    tops = " ".join(f'top: "t{i}"' for i in range(count))
    text = data(f"1 {count} 1 1") + f'layer {{ name: "s" type: "Slice" bottom: "data" {tops} }}\n'
    text += "".join(layer(f"r{i}", "ReLU", f"t{i}", f"t{i}") for i in range(count)) + conv("c", "data", 1, kernel=1)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    assert len(load_caffe(path).outputs) == count + 1
