"""merge-permute: one Permute for several, or none where they undo each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, clean, names, reasons
from tests.quantized import run_passes


def permute(name: str, bottom: str, *order: int) -> str:
    parameter = " ".join(f"order: {axis}" for axis in order)
    return layer(name, "Permute", bottom, name, f"permute_param {{ {parameter} }}")


@pytest.mark.parametrize(
    ("orders", "merged"),
    [
        (((0, 2, 3, 1), (0, 2, 1, 3)), (0, 3, 2, 1)),
        (((1,), (1,)), (0, 1, 2, 3)),
        (((3, 2), (1, 0)), (2, 3, 0, 1)),
        (((0, 2, 3, 1), (0, 2, 1, 3), (3, 1, 2, 0)), (1, 3, 2, 0)),
    ],
)
def test_the_orders_are_put_together(
    orders: tuple[tuple[int, ...], ...], merged: tuple[int, ...], tmp_path: Path
) -> None:
    chain = "".join(permute(f"p{i}", f"p{i - 1}" if i else "data", *order) for i, order in enumerate(orders))
    after, context = check_same(make_net(tmp_path, data("2 4 6 5") + chain), "merge-permute")
    assert names(after) == ["data", "p0"]
    assert after.node("p0").attrs == {"permute_param": {"order": merged}}
    assert not context.refusals


def test_permutations_that_undo_each_other_go(tmp_path: Path) -> None:
    text = data() + permute("a", "data", 0, 2, 3, 1) + permute("b", "a", 0, 3, 1, 2) + layer("r", "ReLU", "b", "r")
    after, _ = check_same(make_net(tmp_path, text), "merge-permute")
    assert names(after) == ["data", "r"]
    assert "`a`, `b`, which undid each other" in after.node("data").provenance.changes[-1].what


def test_a_blob_that_others_read_ends_the_chain(tmp_path: Path) -> None:
    text = data() + permute("a", "data", 0, 2) + permute("b", "a", 0, 2) + layer("r", "ReLU", "a", "r")
    graph = make_net(tmp_path, text)
    after, _ = check_same(graph, "merge-permute")
    assert after == graph


def test_an_input_of_unknown_shape_is_refused(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + permute("a", "data", 0, 2) + permute("b", "a", 0, 2))
    graph.node("data").output.shape = None
    assert reasons(clean(graph, "merge-permute")) == {"a": "the number of axes of its input is not known"}
    assert "b" in graph


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("do_fusion: false", []),
        ('skip_fusion_layers: "b"', ["b"]),
        ('override_layer_configs { layer_name: "a" calibration_config { ifmr_quantize { } } }', ["a"]),
    ],
)
def test_the_policy_decides(policy: str, told: list[str], tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + permute("a", "c", 0, 2) + permute("b", "a", 0, 3)
    graph = make_net(tmp_path, text)
    context = run_passes(graph, "merge-permute", policy)
    assert {"a", "b"} <= set(names(graph))
    assert list(reasons(context)) == told
    run_passes(graph, "merge-permute")
    assert "b" not in graph
