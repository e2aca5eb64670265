"""The calibration engine: what observers see does not depend on how the graph is run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.ir.node import Array, Shape
from amctc.quant.hfmg import HFMG, HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.observer import IfmrObserver
from amctc.quant.observer_state import to_bytes
from amctc.quant.observers import Observer
from amctc.runtime import calibration_engine
from amctc.runtime.calibration import CalibrationRun, Reader, choose_grids
from amctc.runtime.calibration_engine import CalibrationEngine, observe_values
from amctc.runtime.executor import Executor, graph_inputs
from amctc.runtime.hostops.custom import register_host_op
from tests.nets import conv, data, layer, make_net
from tests.quantized import Feeds, random_feeds, run_passes
from tests.shared_files import ASSETS, needs_assets

NET = (
    data("2 3 24 24")
    + conv("first", "data", 8, more="pad: 1")
    + layer("first/relu", "ReLU", "first", "first")
    + conv("left", "first", 6, more="pad: 1")
    + conv("right", "first", 5, more="pad: 1")
    + layer("both", "Concat", "left right", "both")
    + layer("pool", "Pooling", "both", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + conv("last", "pool", 3)
)
WATCHED = ("data", "first/relu", "both", "pool", "last")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return make_net(tmp_path, NET)


def readers_of(graph: Graph) -> list[Reader]:
    values = [graph.node(name).output for name in WATCHED]
    return [
        *(Reader(value, IfmrSettings(), value.producer.name) for value in values),
        *(Reader(value, IfmrSettings(), value.producer.name, "minmax") for value in values),
        *(Reader(value, HfmgSettings(num_of_bins=1024), value.producer.name, HFMG) for value in values),
    ]


def growing_feeds(graph: Graph, count: int) -> list[Feeds]:
    """Batches whose range grows now and then, which is what HFMG's counts depend on."""
    return [
        {name: array * np.float32(1 + (seed % 3) * 0.7) for name, array in random_feeds(graph, seed=seed)[0].items()}
        for seed in range(count)
    ]


def states(run: CalibrationRun) -> list[bytes]:
    found: list[bytes] = []
    for observer in run.finish():
        assert isinstance(observer, IfmrObserver | MinMaxObserver | HfmgObserver)
        found.append(to_bytes(observer))
    return found


def fed(graph: Graph, batches: Sequence[Feeds], cores: int) -> list[bytes]:
    run = CalibrationRun(readers_of(graph), len(batches))
    run.begin(512)
    assert len(list(CalibrationEngine(graph, run, batches[0], len(batches), cores).feed(batches))) == len(batches)
    return states(run)


def fed_at_once(graph: Graph, batches: Sequence[Feeds]) -> list[bytes]:
    """Without an engine: all values of a batch, then the next."""
    run = CalibrationRun(readers_of(graph), len(batches))
    run.begin(512)
    executor = Executor(graph, fetch=run.values)
    for feeds in batches:
        run.feed(executor.run(feeds), 2)
    return states(run)


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_observers_see_the_same_on_any_number_of_cores(graph: Graph, cores: int) -> None:
    batches = growing_feeds(graph, 9)
    assert fed(graph, batches, cores) == fed_at_once(graph, batches)


@pytest.mark.parametrize("cores", [1, 2])
def test_observers_see_the_same_where_little_is_shown_at_a_time(
    graph: Graph, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = growing_feeds(graph, 5)
    wanted = fed_at_once(graph, batches)
    monkeypatch.setattr(calibration_engine, "SHOWN_AT_ONCE", 1)
    assert fed(graph, batches, cores) == wanted


def test_large_batches_run_one_at_a_time(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = growing_feeds(graph, 5)
    wanted = fed_at_once(graph, batches)
    monkeypatch.setattr(calibration_engine, "SIDE_BY_SIDE", 1)
    assert fed(graph, batches, 4) == wanted


def test_what_is_shown_ends_a_session(graph: Graph) -> None:
    values = [graph.node(name).output for name in WATCHED[1:]]
    assert len(Executor(graph, fetch=values).steps) == 1
    # Not between `both` and `pool`, which is no weighted layer.
    assert len(Executor(graph, fetch=values, most_shown=1).steps) == 3
    assert len(Executor(graph, fetch=values, most_shown=4 * 2 * 24 * 24 * 10).steps) == 2


def test_the_first_bad_batch_is_told_of(graph: Graph) -> None:
    batches = growing_feeds(graph, 9)
    batches[4] = {"data": np.full((2, 3, 24, 24), np.nan, np.float32)}
    batches[6] = {"data": batches[6]["data"][:, :2]}
    run = CalibrationRun(readers_of(graph), 9)
    run.begin(512)
    with pytest.raises(DiagnosticError, match="AM404"):
        list(CalibrationEngine(graph, run, batches[0], 9, 3).feed(batches))
    assert run.batches == 4


def test_whoever_makes_the_batches_may_use_their_arrays_again(graph: Graph) -> None:
    batches = growing_feeds(graph, 6)
    wanted = fed(graph, batches, 1)
    array = np.empty_like(batches[0]["data"])

    def again() -> list[bytes]:
        run = CalibrationRun(readers_of(graph), 6)
        run.begin(512)

        def overwritten() -> Iterator[Feeds]:
            for feeds in batches:
                array[:] = feeds["data"]
                yield {"data": array}

        list(CalibrationEngine(graph, run, batches[0], 6, 3).feed(overwritten()))
        return states(run)

    assert again() == wanted


def test_no_data_are_an_error_of_the_observers(graph: Graph) -> None:
    observer: Observer = observe_values(graph, readers_of(graph), [], 1)[0]
    with pytest.raises(DiagnosticError, match="AM406"):
        observer.finish()


@pytest.mark.parametrize(("most_shown", "sessions"), [(None, 1), (1, 3)])
def test_threads_of_a_session_sleep_while_others_of_the_graph_run(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, most_shown: int | None, sessions: int
) -> None:
    made: list[Any] = []
    make: Any = ort.InferenceSession

    def session(*given: Any, **options: Any) -> Any:
        made.append(make(*given, **options))
        return made[-1]

    monkeypatch.setattr(ort, "InferenceSession", session)
    values = [graph.node(name).output for name in WATCHED[1:]]
    Executor(graph, fetch=values, most_shown=most_shown).run(growing_feeds(graph, 1)[0])
    assert len(made) == sessions
    told = [each.get_session_options().get_session_config_entry("session.force_spinning_stop") for each in made[1:]]
    assert told == ["1"] * (sessions - 1)
    if sessions == 1:
        with pytest.raises(RuntimeError, match="force_spinning_stop"):  # nobody has said so
            made[0].get_session_options().get_session_config_entry("session.force_spinning_stop")


def test_mistakes_of_observers_stand_where_their_grids_would(graph: Graph) -> None:
    readers = [Reader(value, IfmrSettings(), value.blob) for value in graph_inputs(graph).values()] * 3
    seen = [IfmrObserver(name=f"layer{number}") for number in range(3)]
    seen[1].update(np.arange(9, dtype=np.float32))
    found = choose_grids(readers, seen)
    assert [isinstance(each, DiagnosticError) for each in found] == [True, False, True]
    assert "`layer2`" in str(found[2]) and found[1] == seen[1].finish()


def test_code_that_is_not_ours_is_called_for_one_batch_at_a_time(tmp_path: Path) -> None:
    threads: set[str] = set()

    def run(node: Node, inputs: tuple[Array, ...], shapes: tuple[Shape, ...]) -> Array:
        threads.add(threading.current_thread().name)
        return inputs[0]

    net = data("1 3 8 8") + conv("first", "data", 2) + layer("mine", "OnlyMine", "first", "mine")
    with register_host_op("OnlyMine", run, infer=lambda node, shapes: shapes):
        graph = make_net(tmp_path, net)
        reader = Reader(graph.node("mine").output, IfmrSettings(), "mine")
        batches = random_feeds(graph, seed=2, count=6)
        counting = CalibrationRun([reader], 6)
        counting.begin(512)
        list(CalibrationEngine(graph, counting, batches[0], 6, 3).feed(batches))
    assert threads == {threading.main_thread().name}


@needs_assets
@pytest.mark.parametrize("name", ["squeezenet_v1.0_dc/squeezenet_v1.0_dc", "cifar10_resnet20/resnet20"])
def test_what_is_looked_at_in_parts_is_the_same_to_the_bit(name: str) -> None:
    weights = ASSETS / f"caffe/{name}.caffemodel"
    graph = load_model(weights.with_name("deploy.prototxt"), weights)
    run_passes(graph, "fuse-batchnorm,annotate-quant,quantize-weights,observe", "batch_num: 1")
    values = list(dict.fromkeys(node.inputs[0] for node in graph.nodes if node.op == "quant.Observe"))
    (feeds,) = random_feeds(graph, seed=1)
    whole, parts = Executor(graph, fetch=values), Executor(graph, fetch=values, most_shown=1)
    assert len(whole.steps) == 1 < len(parts.steps)
    together, apart = whole.run(feeds), parts.run(feeds)
    assert [value.name for value in values if not np.array_equal(together[value], apart[value])] == []
