"""remove-identity: which layers change nothing, which must stay all the same, and that names keep their meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.ir import Graph
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, clean, names, reasons, write_and_read
from tests.quantized import run_passes

CHANGE_NOTHING = {
    "dropout": layer("x", "Dropout", "data", "x"),
    "power": layer("x", "Power", "data", "x", "power_param { power: 1 scale: 1 shift: 0 }"),
    "reshape": layer("x", "Reshape", "data", "x", "reshape_param { shape { dim: 0 dim: 4 dim: -1 dim: 6 } }"),
    "flatten of one axis": layer("x", "Flatten", "data", "x", "flatten_param { axis: 1 end_axis: 1 }"),
    "permute": layer("x", "Permute", "data", "x", "permute_param { order: 0 order: 1 }"),
    "permute of an axis of one element": layer(
        "x", "Permute", "data", "x", "permute_param { order: 0 order: 2 order: 1 }"
    ),
    "tile": layer("x", "Tile", "data", "x", "tile_param { tiles: 1 }"),
    "crop": layer("x", "Crop", "data data", "x"),
    "concat": layer("x", "Concat", "data", "x"),
    "slice": layer("x", "Slice", "data", "x"),
    "split": layer("x", "Split", "data", "x"),
    "pooling": layer("x", "Pooling", "data", "x", "pooling_param { kernel_size: 1 }"),
    "mean of one element": layer("x", "Pooling", "data", "x", "pooling_param { pool: AVE kernel_h: 1 kernel_w: 1 }"),
    "reverse of one element": layer("x", "Reverse", "data", "x", "reverse_param { axis: 1 }"),
    "shuffle of one group": layer("x", "ShuffleChannel", "data", "x", "shuffle_channel_param { group: 1 }"),
    "pad of nothing": layer("x", "Pad", "data", "x"),
    "reorg": layer("x", "Reorg", "data", "x", "reorg_param { stride: 1 }"),
    "upsample": layer("x", "Upsample", "data", "x", "upsample_param { stride: 1 scale: 1 }"),
    "interp": layer("x", "Interp", "data", "x", "interp_param { height: 6 width: 6 }"),
}
SHAPES = {
    "permute of an axis of one element": "2 1 1 6",
    "reverse of one element": "2 1 6 6",
}
CHANGE_SOMETHING = {
    "power": layer("x", "Power", "data", "x", "power_param { scale: 1.0001 }"),
    "reshape": layer("x", "Reshape", "data", "x", "reshape_param { shape { dim: 0 dim: -1 } }"),
    "permute": layer("x", "Permute", "data", "x", "permute_param { order: 0 order: 1 order: 3 order: 2 }"),
    "tile": layer("x", "Tile", "data", "x", "tile_param { tiles: 2 }"),
    "pooling with a stride": layer("x", "Pooling", "data", "x", "pooling_param { kernel_size: 1 stride: 2 }"),
    "reverse": layer("x", "Reverse", "data", "x", "reverse_param { axis: 1 }"),
    "shuffle": layer("x", "ShuffleChannel", "data", "x", "shuffle_channel_param { group: 2 }"),
    "upsample with a factor": layer("x", "Upsample", "data", "x", "upsample_param { stride: 1 scale: 2 }"),
    "bilinear": layer("x", "Interp", "data", "x", "interp_param { height: 7 width: 6 }"),
}


def between(middle: str, shape: str = "2 4 6 6") -> str:
    """A layer in the middle of a net, so that no output depends on its name."""
    return data(shape) + middle + layer("relu", "ReLU", "x", "out")


@pytest.mark.parametrize("name", CHANGE_NOTHING)
def test_a_layer_that_changes_nothing_goes(name: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, between(CHANGE_NOTHING[name], SHAPES.get(name, "2 4 6 6")))
    after, context = check_same(graph, "remove-identity")
    assert names(after) == ["data", "relu"]
    assert not context.refusals
    assert "`x`" in after.node("data").provenance.changes[-1].what


@pytest.mark.parametrize("name", CHANGE_SOMETHING)
def test_a_layer_that_changes_something_stays(name: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, between(CHANGE_SOMETHING[name]))
    after, context = check_same(graph, "remove-identity")
    assert after == graph
    assert not context.refusals


@pytest.mark.parametrize(
    ("text", "ones"),
    [
        (layer("x", "Scale", "data", "x"), ("scale",)),
        (layer("x", "Scale", "data", "x", "scale_param { bias_term: true axis: 2 num_axes: 1 }"), ("scale",)),
        (layer("x", "Bias", "data", "x"), ()),
    ],
)
def test_the_weights_decide_about_scale_and_bias(text: str, ones: tuple[str, ...], tmp_path: Path) -> None:
    graph = make_net(tmp_path, between(text))
    assert "x" in check_same(graph, "remove-identity")[0]
    weights = graph.node("x").weights
    for role, array in weights.items():
        weights[role] = np.full_like(array, 1 if role in ones else 0)
    assert "x" not in check_same(graph, "remove-identity")[0]


def test_a_batch_norm_of_ones_and_zeros_goes(tmp_path: Path) -> None:
    text = layer("x", "BatchNorm", "data", "x", "batch_norm_param { eps: 0.5 use_global_stats: true }")
    graph = make_net(tmp_path, between(text))
    channels = np.ones(4, np.float32)
    graph.node("x").weights = {"mean": 0 * channels, "variance": channels / 2, "factor": np.ones(1, np.float32)}
    assert "x" not in check_same(graph, "remove-identity")[0]


def test_a_reshape_that_changes_nothing_for_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    middle = layer("x", "Reshape", "data", "x", "reshape_param { shape { dim: 1 dim: -1 } }")
    graph = make_net(tmp_path, data("1 8") + middle + layer("relu", "ReLU", "x", "out"))
    after, context = check_same(graph, "remove-identity")
    assert after == graph
    assert reasons(context) == {"x": "with another number of samples it would change something"}


def test_a_chain_goes_at_once_and_the_producer_tells_of_it_in_one_sentence(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + layer("d1", "Dropout", "c", "c") + layer("d2", "Dropout", "c", "d2")
    graph = make_net(tmp_path, text + layer("relu", "ReLU", "d2", "d2"))
    after, _ = check_same(graph, "remove-identity")
    assert names(after) == ["data", "c", "relu"]
    (change,) = after.node("c").provenance.changes
    assert "Dropout `d1`, Dropout `d2`" in change.what


def test_an_output_of_the_network_keeps_its_name(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + layer("drop", "Dropout", "c", "out"))
    after, _ = check_same(graph, "remove-identity")
    assert names(after) == ["data", "c"]
    assert [value.blob for value in after.outputs] == ["out"]


REFUSED = {
    "its input `data` itself": data() + layer("drop", "Dropout", "data", "out"),
    "`relu` would read the output `out`": data()
    + conv("c", "data", 4)
    + layer("relu", "ReLU", "c", "r")
    + layer("drop", "Dropout", "c", "out"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_output_that_cannot_keep_its_name_is_refused(reason: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, REFUSED[reason])
    after, context = check_same(graph, "remove-identity")
    (told,) = reasons(context).values()
    assert reason in told
    assert names(after)[-1] in reasons(context)


def test_an_input_that_only_gave_its_shape_does_not_become_an_output(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + conv("like", "data", 4) + layer("crop", "Crop", "c like", "crop")
    after, _ = check_same(make_net(tmp_path, text), "remove-identity")
    assert names(after) == ["data", "c", "like", "like_silence"]
    assert [value.blob for value in write_and_read(after, tmp_path).outputs] == ["crop"]
    assert names(check_same(after, "remove-dead")[0]) == ["data", "c"]


def test_two_outputs_do_not_become_one_value(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("c", "data", 4) + layer("drop", "Dropout", "c", "out"))
    graph.outputs.insert(0, graph.node("c").output)
    after, context = check_same(graph, "remove-identity")
    assert after == graph
    assert reasons(context) == {"drop": "two outputs of the network, `c` and `out`, would be one value"}


@pytest.mark.parametrize(
    "text",
    [
        # In place Caffe loses the first input: the sum is not in place any more if `d` goes.
        layer("r", "ReLU", "data", "r") + layer("d", "Dropout", "r", "d") + layer("sum", "Eltwise", "d data", "d"),
        # The sum is in place, and would not be if its top were named after the output.
        layer("r", "ReLU", "data", "r") + layer("sum", "Eltwise", "r data", "r") + layer("d", "Dropout", "r", "out"),
    ],
)
def test_what_computes_otherwise_in_place_stays_in_place(text: str, tmp_path: Path) -> None:
    after, context = check_same(make_net(tmp_path, data() + text), "remove-identity")
    assert "d" in after
    assert "in place" in reasons(context)["d"]


def with_reshape(folder: Path) -> Graph:
    middle = layer("x", "Reshape", "c", "x", "reshape_param { shape { dim: 0 dim: 4 dim: 6 dim: 6 } }")
    return make_net(folder, data() + conv("c", "data", 4) + middle + layer("relu", "ReLU", "x", "out"))


def test_a_layer_that_the_policy_names_stays(tmp_path: Path) -> None:
    graph = with_reshape(tmp_path)
    policy = 'override_layer_configs { layer_name: "x" calibration_config { ifmr_quantize { } } }'
    context = run_passes(graph, "remove-identity", policy)
    assert "x" in graph
    assert "override_layer_configs policy.cfg:1" in reasons(context)["x"]


def test_the_default_of_a_type_does_not_keep_a_layer(tmp_path: Path) -> None:
    graph = with_reshape(tmp_path)
    run_passes(graph, "remove-identity")
    assert "x" not in graph


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    graph = with_reshape(tmp_path)
    clean(graph, "remove-identity")
    assert graph == check_same(graph, "remove-identity")[0]
