"""The parts of a reproducer: stored weights, a policy as data, when two failures are the same, and its README."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.ir.stored_weights import StoredWeights
from amctc.policy import Policy, ResolvedPolicy, resolve
from amctc.reproducer import Failure, Reproducer
from amctc.reproducer.policy_data import policy_from_plain, policy_to_plain
from amctc.reproducer.write import save
from amctc.source import SourceFile
from tests.e2e.broken_passes import NET
from tests.nets import write_net


def test_layers_that_share_weights_still_do_when_they_are_read_back(tmp_path: Path) -> None:
    graph = Graph("g")
    shared, small = np.ones(100, np.float32), np.ones(2, np.float32)
    for name in ("a", "a/b", "/etc", "x" * 5000, "n\x00l", "ü"):
        graph.add(
            name, "caffe.Scale", weights={"scale": shared, "bias": small, "own": np.arange(100, dtype=np.float32)}
        )
    stored = StoredWeights.of(graph, "weights.npz")
    assert len(stored.arrays) == 8
    np.savez(tmp_path / "weights.npz", **stored.arrays)  # type: ignore[arg-type]
    with np.load(tmp_path / "weights.npz") as file:
        arrays = dict(file)
    text = SourceFile("graph.ir", print_graph(graph, stored=stored))
    again = parse_graph(text, lambda file, key: arrays[key])
    assert again == graph
    assert again.node("a").weights["scale"] is again.node("ü").weights["scale"]
    assert again.node("a").weights["bias"] is again.node("/etc").weights["bias"]


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "batch_num: 3\nactivation_offset: false\nskip_layers: 'tail'\nskip_fusion_layers: 'b0'",
        "override_layer_types { layer_type: 'Convolution' calibration_config { snq_quantize { max_iteration: 500 } } }",
        "override_layer_configs { layer_name: 'b0' calibration_config { ifmr_quantize { search_range_start: 0.5 } } }",
    ],
)
def test_a_policy_as_data_gives_every_layer_what_it_gave(policy: str, tmp_path: Path) -> None:
    graph = load_model(*write_net(tmp_path, NET))
    resolved = resolve(Policy.from_text(SourceFile("p.cfg", policy)), graph)
    again = policy_from_plain(json.loads(json.dumps(policy_to_plain(resolved))))
    assert isinstance(again, ResolvedPolicy)
    assert again == resolved
    for node in graph.nodes:
        quant, same = resolved.quant_of(node), again.quant_of(node)
        assert (quant, quant and quant.rule) == (same, same and same.rule)
    assert again.types == resolved.types


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cannot read `conv1` at 3", "cannot read `conv2/x` at -4.5e-3", True),
        ("failed with KeyError: 'conv1'", "failed with KeyError: 'pool'", True),
        ("no idea of conv1, number 3", "no idea of pool, number 1", True),
        ("no idea of conv1", "no idea of dropout", False),
        ("a cycle: conv1 -> pool -> conv1", "a cycle: pool -> pool", True),
        ("`conv1` is wrong; `pool` is wrong", "`pool` is wrong", True),
        ("it has the shape [1, 2, 3]", "it has the shape [4]", True),
        ("failed with KeyError: 'conv1'", "failed with ValueError: 'conv1'", False),
    ],
)
def test_failures_are_the_same_but_for_names_and_numbers(one: str, other: str, same: bool) -> None:
    names = {"conv1", "pool"}
    assert Failure("p", "E", one).like(Failure("p", "E", other), names) is same


def test_another_pass_or_exception_is_another_failure() -> None:
    failure = Failure("p", "E", "what")
    assert failure.like(Failure("p", "E", "what"))
    assert not failure.like(Failure("q", "E", "what"))
    assert not failure.like(Failure("p", "F", "what"))


def test_saving_says_how_large_the_graph_is(tmp_path: Path) -> None:
    graph = load_model(*write_net(tmp_path, NET))
    save(Reproducer(graph, "fuse-batchnorm", Failure("p", "E", "what")), ["a note"], tmp_path / "there")
    readme = (tmp_path / "there" / "README.txt").read_text("utf-8")
    assert "the graph (11 layers)" in readme and "a note" in readme
