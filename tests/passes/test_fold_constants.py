"""fold-constants: what depends on no input is computed once, within the limit, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.ir import Graph
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, clean, names, reasons, write_and_read
from tests.quantized import run_passes

CONSTANT = (
    'layer { name: "k" type: "DummyData" top: "k" '
    "dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } data_filler { value: 3 } } }\n"
)
LEARNED = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'
TWO = (
    'layer { name: "k" type: "DummyData" top: "k" top: "k2" dummy_data_param '
    "{ shape { dim: 2 dim: 3 dim: 8 dim: 8 } data_filler { value: 3 } data_filler { value: 4 } } }\n"
)


def net(text: str, folder: Path, last: str = "data c") -> Graph:
    return make_net(folder, data() + text + layer("sum", "Eltwise", last, "out"))


def test_a_chain_of_constants_becomes_one_parameter(tmp_path: Path) -> None:
    chain = layer("a", "Power", "k", "a", "power_param { power: 2 shift: 1 }") + layer("b", "Sigmoid", "a", "c")
    after, context = check_same(net(CONSTANT + chain, tmp_path), "fold-constants")
    assert names(after) == ["data", "b_constant", "sum"]
    assert after.node("b_constant").op == "caffe.Parameter"
    assert after.node("b_constant").output.blob == "c"
    assert not context.refusals


def test_learned_blobs_are_constants_too_and_are_not_written_into(tmp_path: Path) -> None:
    graph = net(LEARNED + layer("a", "Power", "p", "c", "power_param { scale: 2 }"), tmp_path)
    learned = graph.node("p").weights["weight"]
    before: NDArray[Any] = learned.copy()
    clean(graph, "fold-constants")
    np.testing.assert_array_equal(graph.node("a_constant").weights["weight"], 2 * before)
    np.testing.assert_array_equal(learned, before)


def test_a_constant_that_is_read_beside_stays(tmp_path: Path) -> None:
    text = CONSTANT + layer("a", "ReLU", "k", "a") + layer("both", "Eltwise", "k data", "c")
    after, _ = check_same(net(text, tmp_path, "a c"), "fold-constants")
    assert {"k", "a_constant", "both"} <= set(names(after))


def test_a_top_that_is_left_over_is_silenced(tmp_path: Path) -> None:
    text = TWO + layer("a", "ReLU", "k", "a") + layer("both", "Eltwise", "k2 data", "c")
    graph = net(text, tmp_path, "a c")
    after, _ = check_same(graph, "fold-constants")
    assert "k_silence" in after
    assert [value.blob for value in write_and_read(after, tmp_path).outputs] == ["out"]


def test_a_constant_output_keeps_its_name(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + CONSTANT + layer("a", "ReLU", "k", "out"))
    after, _ = check_same(graph, "fold-constants")
    assert {value.blob for value in after.outputs} == {"c", "out"}
    assert {value.blob for value in write_and_read(after, tmp_path).outputs} == {"c", "out"}


def test_a_layer_that_works_in_place_does_not_write_over_the_parameter(tmp_path: Path) -> None:
    text = CONSTANT + layer("a", "ReLU", "k", "c") + layer("s", "Scale", "c data", "c", "scale_param { axis: 0 }")
    graph = make_net(tmp_path, data() + text)
    after, _ = check_same(graph, "fold-constants")
    assert after.node("a_constant").output.blob == "a_constant"


def test_the_limit_in_bytes_is_kept(tmp_path: Path) -> None:
    size = 4 * 2 * 3 * 8 * 8
    graph = net(CONSTANT + layer("a", "ReLU", "k", "c"), tmp_path)
    after, context = check_same(graph, f"fold-constants{{limit={size - 1}}}")
    assert after == graph
    assert reasons(context)["a"] == f"`c` takes {size} bytes, and the limit is {size - 1}"
    assert "a_constant" in check_same(graph, f"fold-constants{{limit={size}}}")[0]


def test_what_comes_before_a_large_constant_is_folded(tmp_path: Path) -> None:
    text = CONSTANT + layer("a", "ReLU", "k", "a") + layer("t", "Tile", "a", "t", "tile_param { axis: 0 tiles: 9 }")
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + text)
    after, _ = check_same(graph, "fold-constants{limit=2000}")
    assert {"a_constant", "t"} <= set(names(after))


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (layer("a", "Eltwise", "k data", "c"), "a"),
        (layer("a", "ReLU", "data", "c") + layer("b", "Eltwise", "k c", "d"), "b"),
    ],
)
def test_what_depends_on_an_input_is_not_folded(text: str, stays: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + CONSTANT + text)
    after, context = check_same(graph, "fold-constants")
    assert after == graph
    assert not context.refusals


def test_a_recurrent_layer_goes_on_from_batch_to_batch_and_is_not_folded(tmp_path: Path) -> None:
    shapes = "shape { dim: 2 dim: 1 dim: 4 } shape { dim: 2 dim: 1 } data_filler { value: 1 }"
    text = f'layer {{ name: "k" type: "DummyData" top: "x" top: "cont" dummy_data_param {{ {shapes} }} }}\n'
    text += layer("r", "LSTM", "x cont", "h", 'recurrent_param { num_output: 3 weight_filler { type: "constant" } }')
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + text)
    after, _ = check_same(graph, "fold-constants")
    assert after == graph


def test_a_network_without_inputs_is_left_alone(tmp_path: Path) -> None:
    graph = make_net(tmp_path, CONSTANT + conv("c", "k", 4))
    after, _ = check_same(graph, "fold-constants")
    assert after == graph


def test_without_weights_nothing_is_computed(tmp_path: Path) -> None:
    graph = net(LEARNED + layer("a", "Power", "p", "c"), tmp_path)
    graph.node("p").weights = {}
    clean(graph, "fold-constants")
    assert "a" in graph


def test_a_layer_that_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    embed = "embed_param { input_dim: 2 num_output: 3 bias_term: false }"
    constant = CONSTANT.replace("dim: 2 dim: 3 dim: 8 dim: 8", "dim: 2")
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + constant + layer("e", "Embed", "k", "e", embed))
    context = clean(graph, "fold-constants")
    assert "e" in graph
    assert reasons(context)["e"].startswith("it cannot be computed: ")


def test_a_shape_that_only_the_numbers_decide_is_refused(tmp_path: Path) -> None:
    zeros = (
        CONSTANT.replace("dim: 2 dim: 3 dim: 8 dim: 8", "dim: 2").replace("value: 3", "value: 0").replace('"k"', '"z"')
    )
    text = CONSTANT + zeros + layer("f", "Filter", "k z", "f")
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + text)
    context = clean(graph, "fold-constants")
    assert "f" in graph
    assert "only when it has been computed" in reasons(context)["f"]


def test_a_layer_that_the_policy_names_stays(tmp_path: Path) -> None:
    text = CONSTANT + layer("a", "Power", "k", "c", "power_param { scale: 2 }") + conv("d", "data", 3, 1)
    graph = net(text, tmp_path, "d c")
    policy = 'override_layer_configs { layer_name: "a" calibration_config { ifmr_quantize { } } }'
    context = run_passes(graph, "fold-constants", policy)
    assert "a" in graph
    assert "the policy has it quantized" in reasons(context)["a"]
    run_passes(graph, "fold-constants")
    assert "a" not in graph


def test_what_the_default_would_quantize_leaves_no_annotation_on_the_constant(tmp_path: Path) -> None:
    text = CONSTANT + layer("a", "Power", "k", "c", "power_param { scale: 2 }") + conv("d", "data", 3, 3, "pad: 1")
    graph = net(text, tmp_path, "d c")
    run_passes(graph, "fold-constants,annotate-quant")
    assert graph.node("a_constant").quant is None
