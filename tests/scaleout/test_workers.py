"""Calibration by workers of a Dask cluster: the files are those of one process, whatever happens to the workers."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
from distributed import Client

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.progress import Silent
from amctc.quant.hfmg import HFMG
from amctc.runtime.sharded_calibration import observe_in_shards
from amctc.runtime.shards import Shard, Way
from amctc.scaleout.cluster import existing_pool
from tests.e2e.command import CALIBRATION, MODEL, WEIGHTS
from tests.runtime.sharded import alone, calibration, images, job_of, net, parts, readers

LocalCluster: Any = distributed.LocalCluster  # typed for programs that await it

MIXED = (
    "batch_num: 24 common_config { ifmr_quantize { } }"
    "override_layer_types { layer_type: 'InnerProduct' calibration_config { hfmg_quantize { } } }"
)


@dataclass(frozen=True)
class Cluster:
    address: str
    client: Client
    local: Any


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers that come up again when they die."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            memory_limit=None,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield Cluster(local.scheduler_address, client, local)


def compiled(folder: Path, policy: str = MIXED, **how: Any) -> dict[str, bytes]:
    """The files that the digits network is compiled to."""
    folder.mkdir()
    rules = folder.with_suffix(".cfg")
    rules.write_text(policy)
    given: dict[str, Any] = {"data": CALIBRATION, "batch_size": 2, "output": folder / "net"} | how
    amctc.compile(MODEL, WEIGHTS, policy=rules, **given)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Killer(Silent):
    """Kills a process when so many batches are done."""

    def __init__(self, process: int, at: int) -> None:
        self._process: int | None = process
        self._at = at

    def step(self, done: int) -> None:
        if self._process is not None and done >= self._at:
            os.kill(self._process, signal.SIGKILL)
            self._process = None

    @property
    def has_killed(self) -> bool:
        return self._process is None


def test_a_cluster_makes_the_same_files(tmp_path: Path, cluster: Cluster) -> None:
    assert compiled(tmp_path / "many", scheduler=cluster.address) == compiled(tmp_path / "one")


def test_a_killed_worker_changes_nothing(tmp_path: Path, cluster: Cluster) -> None:
    processes: Any = cluster.client.run(os.getpid)
    killer = Killer(next(iter(processes.values())), at=3)
    found = compiled(tmp_path / "killed", scheduler=cluster.address, progress=killer)
    assert killer.has_killed
    assert found == compiled(tmp_path / "one")


def test_batches_of_an_iterator_are_sent(tmp_path: Path, cluster: Cluster) -> None:
    with np.load(CALIBRATION) as arrays:
        samples = arrays["data"]
    policy = "batch_num: 24 common_config { ifmr_quantize { } }"
    sent = compiled(tmp_path / "sent", policy, scheduler=cluster.address, data=iter(samples))
    assert sent == compiled(tmp_path / "one", policy)


def test_workers_go_on_from_a_checkpoint(tmp_path: Path, cluster: Cluster) -> None:
    kept = tmp_path / "kept"

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done >= 19:
                raise KeyboardInterrupt

    how: dict[str, Any] = {"checkpoint": kept, "checkpoint_every": 0, "scheduler": cluster.address}
    with pytest.raises(KeyboardInterrupt):
        compiled(tmp_path / "stopped", progress=Stop(), **how)
    assert not list((tmp_path / "stopped").iterdir())
    assert kept.stat().st_size > 1000
    assert compiled(tmp_path / "going", **how) == compiled(tmp_path / "one")
    assert not kept.exists()


def test_every_observer_sees_the_same_and_the_workers_keep_nothing(tmp_path: Path, cluster: Cluster) -> None:
    graph = net(tmp_path)
    wanted = readers(graph)
    data = calibration(graph, images(36), 2, 18)
    job = job_of(graph, wanted, data)
    with existing_pool(job, cluster.address) as pool:
        found = observe_in_shards(job, pool, data.stretch, {}, lambda looks: None, lambda done: None)
    assert parts(found) == alone(graph, wanted, data)
    plugins: Any = cluster.client.run(lambda dask_worker: list(dask_worker.plugins))
    assert not [name for names in plugins.values() for name in names if name.startswith("amctc")]


def test_what_is_wrong_is_told_once_and_for_the_first_shard(tmp_path: Path, cluster: Cluster) -> None:
    graph, samples = net(tmp_path), images(36)
    samples[[9, 21, 30], 0, 0, 0] = np.nan
    data = calibration(graph, samples, 1, 36)
    job = job_of(graph, readers(graph, [HFMG]), data)
    with pytest.raises(DiagnosticError) as told, existing_pool(job, cluster.address) as pool:
        observe_in_shards(job, pool, data.stretch, {}, lambda looks: None, lambda done: None)
    (mistake,) = told.value.diagnostics
    assert mistake.code == "AM404" and "sample 9" in mistake.message


def test_other_failures_of_a_worker_are_raised_here(tmp_path: Path, cluster: Cluster) -> None:
    graph = net(tmp_path)
    job = job_of(graph, readers(graph, ["minmax"]), calibration(graph, images(4), 1, 4))
    with pytest.raises(RuntimeError, match="the data gave 0 batches"), existing_pool(job, cluster.address) as pool:
        list(pool.look_at([Shard(Way.FIRST, 4, 6)]))


def test_batches_that_end_each_worker_are_told(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = net(tmp_path)
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os\nos._exit(1)\n")
    job = job_of(graph, readers(graph, ["minmax"]), calibration(graph, images(4), 1, 4))
    scheduler: Any = cluster.local.scheduler
    monkeypatch.setattr(scheduler, "allowed_failures", 0)
    job = replace(job, plugins=(str(deadly),))
    with pytest.raises(DiagnosticError) as told, existing_pool(job, cluster.address) as pool:
        list(pool.look_at([Shard(Way.FIRST, 0, 4)]))
    assert told.value.diagnostics[0].code == "AM477"
    assert "batches 0 to 3" in told.value.diagnostics[0].message


def test_an_address_without_a_scheduler_is_told(tmp_path: Path) -> None:
    graph = net(tmp_path)
    job = job_of(graph, readers(graph, ["minmax"]), calibration(graph, images(4), 1, 4))
    for address in ("tcp://127.0.0.1:1", "nowhere at all"):
        with pytest.raises(DiagnosticError) as told, existing_pool(job, address, 0.5):
            pass
        assert told.value.diagnostics[0].code == "AM473"


def test_a_cluster_without_workers_is_told(tmp_path: Path) -> None:
    graph = net(tmp_path)
    job = job_of(graph, readers(graph, ["minmax"]), calibration(graph, images(4), 1, 4))
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as local,
        pytest.raises(DiagnosticError) as told,
        existing_pool(job, local.scheduler_address, 0.5),
    ):
        pass
    assert told.value.diagnostics[0].code == "AM473"
    assert "no workers" in told.value.diagnostics[0].message
