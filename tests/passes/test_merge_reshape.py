"""merge-reshape: one Reshape for several layers, for every batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.runtime.executor import run_graph
from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, clean, names, reasons
from tests.quantized import run_passes


def reshape(name: str, bottom: str, *dims: int, more: str = "") -> str:
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return layer(name, "Reshape", bottom, name, f"reshape_param {{ shape {{ {shape} }} {more} }}")


FLAT = layer("f", "Flatten", "data", "f")
CHAINS = {
    "flatten, reshape": (FLAT + reshape("r", "f", 0, 2, -1), (0, 2, -1)),
    "reshape, flatten": (
        reshape("r", "data", 0, 2, -1) + layer("f", "Flatten", "r", "f"),
        (0, -1),
    ),
    "three": (
        FLAT + reshape("r", "f", 0, 3, -1) + layer("u", "Unsqueeze", "r", "u", "unsqueeze_param { dim: -1 }"),
        (0, 3, -1, 1),
    ),
    "fixed sizes": (FLAT + reshape("r", "f", 0, 4, 6, 6), (0, 0, 0, 0)),
    "the batch in the middle": (FLAT + reshape("r", "f", 1, 1, -1, 144), (1, 1, -1, 144)),
    "some axes": (FLAT + reshape("r", "f", 12, -1, more="axis: 1 num_axes: 1"), (0, 12, -1)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_becomes_one_reshape(name: str, tmp_path: Path) -> None:
    text, dims = CHAINS[name]
    graph = make_net(tmp_path, data("2 4 6 6") + text)
    after, context = check_same(graph, "merge-reshape")
    assert len(after) == 2
    node = after.nodes[1]
    assert (node.name, node.op) == (graph.nodes[1].name, "caffe.Reshape")
    assert node.attrs == {"reshape_param": {"shape": {"dim": dims}}}
    assert node.provenance.absorbed == tuple(names(graph)[2:])
    assert not context.refusals


def test_the_batch_size_may_still_change(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 4 6 6") + FLAT + reshape("r", "f", -1, 2, 72))
    clean(graph, "merge-reshape")
    found = run_graph(graph, {"data": np.zeros((5, 4, 6, 6), np.float32)})
    assert found["r"].shape == (5, 2, 72)


def test_a_chain_that_no_one_reshape_can_replace_is_refused(tmp_path: Path) -> None:
    # [N, N] -> [1, 1, N, N]: two sizes would have to be found.
    product = layer("m", "MatMul", "data data", "m", "matmul_param { transpose_b: true }")
    text = product + layer("a", "Unsqueeze", "m", "a", "unsqueeze_param { dim: 0 }")
    graph = make_net(tmp_path, data("2 4") + text + layer("b", "Unsqueeze", "a", "b", "unsqueeze_param { dim: 0 }"))
    after, context = check_same(graph, "merge-reshape")
    assert after == graph
    assert reasons(context) == {"a": "no one Reshape gives the last shape for every number of samples"}


def test_a_blob_that_others_read_ends_the_chain(tmp_path: Path) -> None:
    text = FLAT + reshape("r", "f", 0, 2, -1) + layer("relu", "ReLU", "f", "relu")
    graph = make_net(tmp_path, data("2 4 6 6") + text)
    after, _ = check_same(graph, "merge-reshape")
    assert after == graph


def test_an_input_of_unknown_shape_is_refused(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 4 6 6") + FLAT + reshape("r", "f", 0, 2, -1))
    graph.node("data").output.shape = None
    context = clean(graph, "merge-reshape")
    assert len(graph) == 3
    assert reasons(context) == {"f": "the shape of its input is not known"}


def test_an_empty_input_is_refused(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 4 6 6") + FLAT + reshape("r", "f", 0, 2, -1))
    graph.node("data").output.shape = (0, 4, 6, 6)
    assert reasons(clean(graph, "merge-reshape")) == {"f": "its input is empty"}


@pytest.mark.parametrize(
    ("policy", "layer_told", "reason"),
    [
        ("do_fusion: false", None, ""),
        ('skip_fusion_layers: "r"', "r", "skip_fusion_layers"),
        (
            'override_layer_configs { layer_name: "r" calibration_config { ifmr_quantize { } } }',
            "r",
            "the policy has it quantized",
        ),
    ],
)
def test_the_policy_decides(policy: str, layer_told: str | None, reason: str, tmp_path: Path) -> None:
    text = (
        data("2 4 6 6") + conv("data2", "data", 4, 1) + FLAT.replace('"data"', '"data2"') + reshape("r", "f", 0, 2, -1)
    )
    graph = make_net(tmp_path, text)
    told = reasons(run_passes(graph, "merge-reshape", policy))
    assert {"f", "r"} <= set(names(graph))
    assert list(told) == ([layer_told] if layer_told else [])
    assert all(reason in each for each in told.values())
    run_passes(graph, "merge-reshape")
    assert "r" not in graph
