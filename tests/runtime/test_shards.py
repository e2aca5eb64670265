"""A calibration that is split into shards has, bit for bit, what one run has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.quant.observers import MERGING, Observer
from amctc.registry import builtin_registry
from amctc.runtime.calibration import Reader
from amctc.runtime.calibration_state import CalibrationState, NoState
from amctc.runtime.look import Look
from amctc.runtime.sharded_calibration import observe_in_shards
from amctc.runtime.shards import LONGEST, Shard, ShardRunner, Way, cuts, shard_size
from amctc.source import SourceFile
from tests.runtime.sharded import Here, alone, calibration, images, job_of, net, parts, readers


def nothing(*told: object) -> None:
    del told


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("sent", [False, True])
def test_any_number_of_workers_sees_what_one_run_sees(tmp_path: Path, workers: int, sent: bool) -> None:
    graph = net(tmp_path)
    wanted, data = readers(graph), calibration(graph, images(36), 2, 18)
    job = job_of(graph, wanted, data, sent=sent)
    told: list[int] = []
    found = observe_in_shards(job, Here(job, workers), data.stretch, {}, nothing, told.append)
    assert parts(found) == alone(graph, wanted, data)
    assert told == sorted(told) and told[-1] == 18


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(st.integers(1, 11), unique=True), order=st.randoms(use_true_random=False))
def test_any_cut_in_any_order_gives_one_state(tmp_path: Path, ends: list[int], order: object) -> None:
    graph = net(tmp_path)
    data = calibration(graph, images(12), 1, 12)
    job = job_of(graph, readers(graph, MERGING), data)
    bounds = [0, *sorted(ends), 12]
    runner = ShardRunner(job)
    states = [
        CalibrationState.from_bytes(runner.run(Shard(Way.FIRST, start, stop))) for start, stop in pairwise(bounds)
    ]
    order.shuffle(states)  # type: ignore[attr-defined]
    look = Look(job.run(Way.FIRST), 12, states)
    assert look.is_done and look.missing() == []
    (whole,) = look.states()
    assert whole.to_bytes() == runner.run(Shard(Way.FIRST, 0, 12))


def test_batch_sizes_and_threads_change_nothing_for_observers_that_merge(tmp_path: Path) -> None:
    graph = net(tmp_path)
    wanted = readers(graph, MERGING)
    samples = images(32)
    found = []
    for size, threads in ((1, 1), (4, 2), (32, 1), (32, 3)):
        data = calibration(graph, samples, size, 32 // size)
        job = job_of(graph, wanted, data, threads)
        found.append(parts(observe_in_shards(job, Here(job), data.stretch, {}, nothing, nothing)))
    assert found[1:] == found[:1] * 3


def test_iterables_are_sent_batch_by_batch(tmp_path: Path) -> None:
    graph = net(tmp_path)
    wanted, samples = readers(graph, MERGING), images(10)
    data = calibration(graph, iter(samples), 2, 5)
    job = job_of(graph, wanted, data, sent=True)
    found = observe_in_shards(job, Here(job), data.stretch, {}, nothing, nothing)
    assert parts(found) == alone(graph, wanted, calibration(graph, samples, 2, 5))


def test_values_that_are_not_finite_are_told_by_the_shard(tmp_path: Path) -> None:
    graph, samples = net(tmp_path), images(8)
    samples[5, 0, 0, 0] = np.nan
    job = job_of(graph, readers(graph), calibration(graph, samples, 2, 4))
    runner = ShardRunner(job)
    runner.run(Shard(Way.FIRST, 0, 2))
    with pytest.raises(DiagnosticError) as told:
        runner.run(Shard(Way.FIRST, 2, 4))
    assert told.value.diagnostics[0].code == "AM404"
    assert "sample 5" in told.value.diagnostics[0].message


def test_shards_are_many_for_each_worker_and_never_too_long() -> None:
    assert list(cuts(3, 10, 3)) == [(3, 6), (6, 9), (9, 10)]
    assert [shard_size(batches, workers) for batches, workers in ((1, 4), (10, 2), (16, 2), (128, 2))] == [1, 2, 4, 8]
    assert shard_size(1 << 30, 2) == LONGEST


def state(start: int, stop: int) -> CalibrationState:
    return CalibrationState(start, stop, ((b"one",), (b"two", b"three"), ()))


def test_a_state_is_read_back_from_its_bytes() -> None:
    data = state(3, 7).to_bytes()
    assert CalibrationState.from_bytes(data) == state(3, 7)
    assert CalibrationState.from_bytes(data).to_bytes() == data


def test_damaged_states_are_refused_whatever_is_wrong(tmp_path: Path) -> None:
    data = state(3, 7).to_bytes()
    broken = [data[:cut] for cut in range(len(data))] + [data + b"\0", b"x" + data[1:], state(7, 7).to_bytes()]
    broken += [data[:32] + b"\xff" * 8 + data[40:], data[:40] + b"\xff" * 8 + data[48:]]
    for each in broken:
        with pytest.raises(NoState):
            CalibrationState.from_bytes(each)
    graph = net(tmp_path)
    job = job_of(graph, readers(graph), calibration(graph, images(4), 1, 4))
    good = CalibrationState.from_bytes(ShardRunner(job).run(Shard(Way.FIRST, 0, 2)))
    swapped = CalibrationState(0, 2, (good.parts[1], good.parts[0], *good.parts[2:]))
    other_job = job_of(graph, readers(graph, MERGING[:2]), calibration(graph, images(4), 1, 4))
    for run, found in (
        (job, [state(0, 2)]),
        (job, [swapped]),
        (other_job, [good]),
        (job, [good, good]),
        (job, [CalibrationState(2, 5, good.parts)]),
    ):
        with pytest.raises(NoState):
            Look(run.run(Way.FIRST), 4, found)


def test_what_is_told_of_a_range_that_ends_at_minus_zero_is_the_same(tmp_path: Path) -> None:
    told: list[str] = []
    for shared in (False, True):
        graph = net(tmp_path)
        samples = np.abs(images(8))
        samples[samples < 0.5] = -0.0
        data = calibration(graph, samples, 2, 4)

        def observe(graph: Graph, wanted: Sequence[Reader], count: int) -> list[Observer]:
            job = job_of(graph, tuple(wanted), data)  # noqa: B023  # called in this round
            return observe_in_shards(job, Here(job), data.stretch, {}, nothing, nothing)  # noqa: B023

        policy = resolve(Policy.from_text(SourceFile("policy", "batch_num: 4")), graph)
        feeding = Calibration(data.batches, 4, observe=observe if shared else None)
        steps = "annotate-quant,quantize-weights,observe,calibrate"
        parse_pipeline(SourceFile("pipeline", steps), builtin_registry()).run(graph, Context(policy, feeding))
        told.append("\n".join(change.what for node in graph for change in node.provenance.changes))
    assert told[0] == told[1]
    assert "range 0 …" in told[0] and "range -0 …" not in told[0]
