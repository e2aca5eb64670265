"""The observers minmax, percentile, entropy and mse at work: asked for in a pipeline, merged for what is joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.quant.activation import settings_from_plain
from amctc.quant.entropy import EntropyObserver
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.mse import MseObserver
from amctc.quant.observer_state import to_bytes
from amctc.quant.percentile import PercentileObserver
from amctc.registry import builtin_registry
from amctc.runtime.calibration import CalibrationRun, Reader
from amctc.runtime.calibration_engine import observe_values
from amctc.runtime.executor import Executor
from amctc.source import SourceFile
from tests.nets import conv, data, layer, make_net
from tests.quantized import random_feeds, run_passes

NET = (
    data("2 3 8 8")
    + conv("left", "data", 4, more="pad: 1")
    + layer("left/relu", "ReLU", "left", "left")
    + conv("right", "data", 5, more="pad: 1")
    + layer("both", "Concat", "left right", "both")
    + conv("last", "both", 3)
)
KINDS: dict[str, Any] = {kind.kind: kind for kind in (MinMaxObserver, PercentileObserver, EntropyObserver, MseObserver)}


def settings_asked(graph: Graph) -> set[tuple[str, IfmrSettings]]:
    found: set[tuple[str, IfmrSettings]] = set()
    for node in graph.nodes:
        if node.op == "quant.Observe":
            settings = settings_from_plain(node.attrs["settings"])
            assert isinstance(settings, IfmrSettings)
            found.add((str(node.attrs["observer"]), settings))
    return found


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("policy", "grid"),
    [
        ("common_config { ifmr_quantize { num_bits: 9 } }", (9, True)),
        (
            "activation_offset: false common_config { ifmr_quantize { max_percentile: 0.99 search_step: 0.1 } }",
            (8, False),
        ),
        ("common_config { hfmg_quantize { dst_type: INT16 asymmetric: false } }", (16, False)),
    ],
)
def test_the_option_of_the_pass_asks_for_it_with_the_bits_and_offset_of_the_policy(
    name: str, policy: str, grid: tuple[int, bool], tmp_path: Path
) -> None:
    graph = make_net(tmp_path, NET)
    run_passes(graph, f"annotate-quant,observe{{observer={name}}}", policy)
    part = 0.9999 if name == "percentile" else 0.999999
    assert settings_asked(graph) == {(name, IfmrSettings(*grid, part, part))}


def test_the_percentile_is_an_option_in_percent(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    run_passes(graph, "annotate-quant,observe{observer=percentile,percentile=99.9}")
    assert settings_asked(graph) == {("percentile", IfmrSettings(8, True, 0.999, 0.999))}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("observer=percentile,percentile=50", "`percentile` is above 50"),
        ("observer=percentile,percentile=100.5", "takes a number from 50 to 100"),
        ("percentile=99", "`percentile` is for the observer `percentile`, not `ifmr`"),
    ],
)
def test_a_percentile_that_cannot_be_is_refused(options: str, words: str) -> None:
    with pytest.raises(DiagnosticError, match=f"AM503.*{words}"):
        parse_pipeline(SourceFile("--pipeline", f"annotate-quant,observe{{{options}}}"), builtin_registry())


@pytest.mark.parametrize("name", KINDS)
def test_every_layer_has_the_grid_of_its_own_values(name: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    batches = random_feeds(graph, seed=1, count=3)
    executor = Executor(graph, fetch=(graph.node("data").output, graph.node("both").output))
    alone = {"left": KINDS[name](), "last": KINDS[name]()}
    if name == "percentile":
        alone = {key: PercentileObserver(IfmrSettings(8, True, 0.9999, 0.9999)) for key in alone}
    for feeds in batches:
        arrays = executor.run(feeds)
        alone["left"].update(arrays[graph.node("data").output])
        alone["last"].update(arrays[graph.node("both").output])
    text = f"annotate-quant,observe{{observer={name}}},calibrate"
    run_passes(graph, text, "", batches)
    for layer_name, observer in alone.items():
        wanted, quant = observer.finish(), graph.node(layer_name).quant
        assert quant is not None
        assert (quant.inputs[0].scale, quant.inputs[0].offset) == (float(wanted.scale), wanted.offset)


@pytest.mark.parametrize("name", KINDS)
def test_the_output_of_a_concat_is_not_looked_at_itself(name: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    reader = Reader(graph.node("both").output, IfmrSettings(), "last", name)
    run = CalibrationRun([reader], 2)
    assert [found.producer.name for found in run.values] == ["left/relu", "right"]
    batches = random_feeds(graph, seed=2, count=2)
    (merged,) = observe_values(graph, [reader], batches, 2)
    assert type(merged) is KINDS[name]
    direct = KINDS[name]()
    executor = Executor(graph, fetch=(reader.value,))
    for feeds in batches:
        direct.update(executor.run(feeds)[reader.value])
    assert merged.finish() == direct.finish()


def test_observers_of_several_kinds_share_a_run_and_not_their_states(tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    value = graph.node("both").output
    names = ("ifmr", *KINDS)
    readers = [Reader(value, IfmrSettings(), name, name) for name in names]
    batches = random_feeds(graph, seed=3, count=2)
    together: list[Any] = list(observe_values(graph, readers, batches, 2))
    assert [observer.kind for observer in together] == list(names)
    for reader, observer in zip(readers, together, strict=True):
        (alone,) = observe_values(graph, [reader], batches, 2)
        assert to_bytes(observer) == to_bytes(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_batches_of_any_size_give_one_result(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(4).standard_t(3, (12, 6000)).astype(np.float32)
    graph = make_net(tmp_path, data("12 6000") + layer("out", "Flatten", "data", "out"))
    reader = Reader(graph.node("data").output, IfmrSettings(8, True, 0.999, 0.999), "out", name)

    def found(parts: int) -> object:
        batches = [{"data": part} for part in np.split(values, parts)]
        (observer,) = observe_values(graph, [reader], batches, parts)
        return observer.finish()

    assert found(1) == found(3) == found(12)
