"""remove-dead: what no output needs goes, and the outputs of the written network stay what they were."""

from __future__ import annotations

from pathlib import Path

from amctc.frontends import load_model
from amctc.ir import Graph
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, names, reasons, write_and_read
from tests.quantized import run_passes

TWO_TOPS = 'layer { name: "cut" type: "Slice" bottom: "data" top: "one" top: "two" slice_param { slice_point: 1 } }\n'


def hush(*blobs: str, name: str = "hush") -> str:
    bottoms = " ".join(f'bottom: "{blob}"' for blob in blobs)
    return f'layer {{ name: "{name}" type: "Silence" {bottoms} }}\n'


def dead_branch(bottom: str) -> str:
    return conv("d1", bottom, 4) + layer("d2", "ReLU", "d1", "d1") + conv("d3", "d1", 2) + hush("d3")


def outputs(graph: Graph) -> set[str]:
    return {value.blob for value in graph.outputs}


def test_a_silenced_branch_goes_with_its_silence(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + dead_branch("data"))
    after, context = check_same(graph, "remove-dead")
    assert names(after) == ["data", "c"]
    assert not context.refusals
    assert "Convolution `d1`" in after.node("data").provenance.changes[-1].what


def test_a_branch_that_feeds_a_living_layer_too_stays(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + layer("r", "ReLU", "c", "r") + layer("t", "TanH", "c", "t") + hush("t")
    after, _ = check_same(make_net(tmp_path, text), "remove-dead")
    assert names(after) == ["data", "c", "r"]


def test_an_input_that_nobody_reads_stays(tmp_path: Path) -> None:
    text = data() + data("2", "label") + conv("c", "data", 4) + hush("label")
    after, _ = check_same(make_net(tmp_path, text), "remove-dead")
    assert names(after) == ["data", "label", "c"]
    assert outputs(write_and_read(after, tmp_path)) == {"c"}


def test_a_top_that_nobody_needs_is_silenced_and_does_not_become_an_output(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + TWO_TOPS + conv("c", "one", 4) + dead_branch("two"))
    after, _ = check_same(graph, "remove-dead")
    assert sorted(names(after)) == ["c", "cut", "cut_silence", "data"]
    assert outputs(write_and_read(after, tmp_path)) == {"c"}
    assert check_same(after, "remove-dead")[0] == after


def test_a_silence_that_is_needed_stays(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + TWO_TOPS + conv("c", "one", 4) + hush("two"))
    after, _ = check_same(graph, "remove-dead")
    assert after == graph


def test_layers_with_an_effect_stay(tmp_path: Path) -> None:
    writer = (
        'layer { name: "h5" type: "HDF5Output" bottom: "r" bottom: "r2" hdf5_output_param { file_name: "x.h5" } }\n'
    )
    text = data() + conv("c", "data", 4) + layer("a", "ReLU", "data", "r") + layer("b", "ReLU", "data", "r2") + writer
    graph = make_net(tmp_path, text)
    graph.add("watch", "quant.Observe", [graph.node("data").output], [])
    after = graph
    run_passes(after, "remove-dead")
    assert {"h5", "a", "b", "watch"} <= set(names(after))


def test_custom_layers_stay_whatever_they_do(tmp_path: Path) -> None:
    model, proto = tmp_path / "net.prototxt", tmp_path / "custom.proto"
    proto.write_text(
        "package caffe;\nmessage LayerParameter { optional WatchParameter watch_param = 9000; }\n"
        "message WatchParameter { optional int32 n = 1; }\n",
        encoding="utf-8",
    )
    model.write_text(data() + conv("c", "data", 4) + layer("w", "Watch", "data", "w") + hush("w"), encoding="utf-8")
    graph = load_model(model, custom_protos=[proto])
    run_passes(graph, "remove-dead")
    assert "w" in graph
    assert "hush" in graph


def test_a_network_without_outputs_is_left_alone(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + hush("c"))
    run_passes(graph, "remove-dead")
    assert names(graph) == ["data", "c", "hush"]


def test_a_dead_layer_that_the_policy_names_stays_and_is_silenced(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + dead_branch("data"))
    policy = 'override_layer_configs { layer_name: "d1" calibration_config { ifmr_quantize { } } }'
    context = run_passes(graph, "remove-dead", policy)
    assert {"d1", "d1_silence"} <= set(names(graph))
    assert "d3" not in graph
    assert list(reasons(context)) == ["d1"]
    assert outputs(write_and_read(graph, tmp_path)) == {"c"}


def test_an_annotated_layer_stays(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + dead_branch("data"))
    run_passes(graph, "annotate-quant")
    run_passes(graph, "remove-dead")
    assert {"d1", "d3"} <= set(names(graph))
