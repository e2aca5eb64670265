"""HFMG at work: what calibration feeds its observers, and what comes of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.quant.activation import settings_from_plain, settings_to_plain
from amctc.quant.hfmg import HFMG, HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import IfmrObserver
from amctc.runtime.calibration import CalibrationRun, Reader
from amctc.runtime.calibration_engine import observe_values
from amctc.runtime.executor import Executor
from tests.nets import conv, data, layer, make_net
from tests.quant.hfmg_cases import recorded_cases
from tests.quantized import Feeds, quantize, random_feeds, run_passes
from tests.shared_files import needs_golden

NET = (
    data("2 3 8 8")
    + conv("left", "data", 4, more="pad: 1")
    + layer("left/relu", "ReLU", "left", "left")
    + conv("right", "data", 5, more="pad: 1")
    + layer("both", "Concat", "left right", "both")
    + conv("last", "both", 3)
    + layer("pool", "Pooling", "last", "pool", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }")
)
POLICY = "common_config { hfmg_quantize { num_of_bins: 1024 dst_type: INT8 } }"


def factors(graph: Graph) -> dict[tuple[str, int], tuple[float | None, int | None]]:
    return {
        (node.name, entry.index): (entry.scale, entry.offset)
        for node in graph.nodes
        if node.quant is not None
        for entry in node.quant.inputs
    }


def by_hand(graph: Graph, batches: Sequence[Feeds]) -> dict[tuple[str, int], tuple[float, int]]:
    """The factors of a graph with observers: each fed with its own value, batch by batch."""
    nodes = [node for node in graph.nodes if node.op == "quant.Observe"]
    executor = Executor(graph, fetch=tuple(dict.fromkeys(node.inputs[0] for node in nodes)))
    found: dict[tuple[str, int], tuple[float, int]] = {}
    observers = [HfmgObserver(HfmgSettings(num_of_bins=1024)) for _ in nodes]
    for feeds in batches:
        arrays = executor.run(feeds)
        for node, observer in zip(nodes, observers, strict=True):
            observer.update(arrays[node.inputs[0]])
    for node, observer in zip(nodes, observers, strict=True):
        result = observer.finish()
        layers, inputs = node.attrs["layers"], node.attrs["inputs"]
        assert isinstance(layers, tuple) and isinstance(inputs, tuple)
        for name, index in zip(layers, inputs, strict=True):
            assert isinstance(index, int)
            found[str(name), index] = (float(result.scale), result.offset)
    return found


def test_every_value_has_the_grid_of_its_own_histogram(tmp_path: Path) -> None:
    batches = random_feeds(make_net(tmp_path, NET), seed=1, count=4)
    observed = make_net(tmp_path, NET)
    run_passes(observed, "annotate-quant,quantize-weights,observe", POLICY)
    assert {str(node.attrs["observer"]) for node in observed.nodes if node.op == "quant.Observe"} == {HFMG}
    graph = make_net(tmp_path, NET)
    run_passes(graph, "annotate-quant,quantize-weights,observe,calibrate", POLICY, batches)
    wanted = by_hand(observed, batches)
    assert wanted.keys() >= {("left", 0), ("both", 0), ("both", 1), ("last", 0), ("pool", 0)}
    assert factors(graph) == wanted


def test_a_policy_may_mix_both_algorithms_and_widths(tmp_path: Path) -> None:
    rules = (
        "common_config { hfmg_quantize { dst_type: INT16 } }"
        "override_layer_configs { layer_name: 'right' calibration_config { ifmr_quantize { asymmetric: false } } }"
    )
    graph = make_net(tmp_path, NET)
    quantize(graph, random_feeds(graph, seed=2, count=2), rules)
    assert graph.node("left").inputs[0].dtype == "int16"
    assert graph.node("right").inputs[0].dtype == "int8"
    left, right = (graph.node(name).quant for name in ("left", "right"))
    assert left is not None and isinstance(left.inputs[0].settings, HfmgSettings)
    assert right is not None and isinstance(right.inputs[0].settings, IfmrSettings)
    assert right.inputs[0].offset == 0


def test_the_option_of_the_pass_chooses_hfmg_for_a_policy_that_cannot_say_it(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    run_passes(graph, "annotate-quant,observe{observer=hfmg}", "common_config { ifmr_quantize { num_bits: 9 } }")
    found = [settings_from_plain(node.attrs["settings"]) for node in graph.nodes if node.op == "quant.Observe"]
    assert found and set(found) == {HfmgSettings(9)}


@needs_golden
def test_the_recorded_grids_are_found_batch_by_batch(tmp_path: Path) -> None:
    compared = 0
    for case in recorded_cases():
        if "error" in case.row or case.row["input"] == "extreme" or not case.data.any():
            continue
        shape = " ".join(map(str, case.batches[0].reshape(len(case.batches[0]), -1).shape))
        graph = make_net(tmp_path, data(shape) + layer("out", "Flatten", "data", "out"))
        value = graph.node("data").output
        batches = [{"data": batch.reshape(len(batch), -1)} for batch in case.batches]
        (observer,) = observe_values(graph, [Reader(value, case.settings, "conv1", HFMG)], batches, len(batches))
        found, recorded = observer.finish(), case.row["steps"][-1]
        assert (found.scale, found.offset) == (np.float32(recorded["scale"]), recorded["offset"]), case.row
        compared += 1
    assert compared == 83


def test_where_the_first_batch_spans_all_the_split_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(12, 50)).astype(np.float32)
    values[0, :2] = values.min() - 1, values.max() + 1
    graph = make_net(tmp_path, data("12 50") + layer("out", "Flatten", "data", "out"))
    reader = Reader(graph.node("data").output, HfmgSettings(num_of_bins=1024), "out", HFMG)

    def found(parts: int) -> tuple[float, int, float]:
        batches = [{"data": part} for part in np.split(values, parts)]
        (observer,) = observe_values(graph, [reader], batches, parts)
        result = observer.finish()
        return float(result.scale), result.offset, result.loss

    assert found(1) == found(2) == found(12)


def test_what_it_keeps_does_not_grow(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("4 3 64 64") + layer("out", "Flatten", "data", "out"))
    value = graph.node("data").output
    run = CalibrationRun([Reader(value, HfmgSettings(), "out", HFMG)], 60)
    rng = np.random.default_rng(4)

    def feed(count: int) -> int:
        for _ in range(count):
            run.feed({value: rng.normal(size=(4, 3, 64, 64)).astype(np.float32)}, 4)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = feed(3)
        grown = feed(40) - first
    finally:
        tracemalloc.stop()
    (observer,) = run.finish()
    assert isinstance(observer, HfmgObserver) and observer.nbytes == 8 * 4096
    assert grown < 4 * 3 * 64 * 64 * 4  # less than one batch more


def test_readers_of_both_kinds_share_a_run(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    value = graph.node("both").output
    readers = [Reader(value, HfmgSettings(), "last", HFMG), Reader(value, IfmrSettings(), "other")]
    run = CalibrationRun(readers, 1)
    # IFMR looks at the parts of the Concat, HFMG at its output.
    assert [found.producer.name for found in run.values] == ["left/relu", "right", "both"]
    mine, other = observe_values(graph, readers, random_feeds(graph, seed=5), 1)
    assert isinstance(mine, HfmgObserver) and isinstance(other, IfmrObserver)


@pytest.mark.parametrize(("array", "code"), [([np.nan], "AM404"), ([0.0], "AM405")])
def test_values_without_a_grid_name_the_layer(array: list[float], code: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("1 1") + layer("out", "Flatten", "data", "out"))
    value = graph.node("data").output
    run = CalibrationRun([Reader(value, HfmgSettings(), "out", HFMG)], 1)
    with pytest.raises(DiagnosticError, match=f"{code}.*`out`"):
        run.feed({value: np.array([array], np.float32)}, 1)
        run.finish()[0].finish()


@pytest.mark.parametrize("settings", [IfmrSettings(12, False, search_step=0.1), HfmgSettings(16, False, 8192, True)])
def test_settings_are_plain_data_and_back(settings: IfmrSettings | HfmgSettings) -> None:
    assert settings_from_plain(settings_to_plain(settings)) == settings
    with pytest.raises(ValueError, match="no algorithm 'best'"):
        settings_from_plain({**settings_to_plain(settings), "algorithm": "best"})
