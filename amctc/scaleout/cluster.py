"""Clusters: processes on this machine, or one that is there already."""

from __future__ import annotations

import contextlib
import logging
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.ahead import usable_cores
from amctc.runtime.shards import CalibrationJob

if TYPE_CHECKING:
    from distributed import Client

    from amctc.scaleout.pool import DaskPool

_START: Final = 60.0
"""Seconds that a worker may take to come up, or a scheduler to answer."""

_CONFIG: Final = {
    "distributed.admin.large-graph-warning-threshold": "1GiB",  # batches go with their shards, where they are no files
    "distributed.comm.timeouts.connect": "15s",
}


def require_dask() -> None:
    """Raise `DiagnosticError` (AM470) where Dask is not installed."""
    try:
        import distributed
    except ImportError:
        message = "calibrating with workers needs the package `distributed`, which is not installed"
        raise error("AM470", message, help="pip install 'amctc[dask]'") from None
    del distributed


@contextmanager
def local_pool(job: CalibrationJob, workers: int, seconds: float = _START) -> Generator[DaskPool]:
    """So many processes on this machine, which share its cores, unless the job has threads. They end with the block.

    Raises `DiagnosticError`: AM470 where Dask is missing, AM473 where the processes do not come up in so many seconds.
    """
    require_dask()
    from dask import config
    from distributed import Client, LocalCluster

    held = job if job.threads is not None else job.with_threads(max(1, usable_cores() // workers))
    with (
        tempfile.TemporaryDirectory(prefix="amctc-workers-") as folder,
        config.set({**_CONFIG, "temporary-directory": folder}),
    ):
        try:
            # The workers are started by a thread that begins here, and have what it blocks.
            with _interrupts_blocked():
                cluster = LocalCluster(
                    n_workers=0,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any free port, not the one that everybody takes
                    silence_logs=logging.CRITICAL,
                    memory_limit=None,
                    local_directory=folder,
                )
        except (OSError, RuntimeError, TimeoutError) as problem:
            raise _not_up(_words(problem)) from problem
        with cluster, Client(cluster, timeout=seconds, set_as_default=False) as client:
            cluster.scale(workers)
            with _holding(client, held, workers, seconds) as pool:
                yield pool


@contextmanager
def _interrupts_blocked() -> Generator[None]:
    """An interrupt from a terminal goes to all processes. It is for this one, after the block: it ends the others."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # or the first process would start it, and no longer block anything then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def existing_pool(job: CalibrationJob, address: str, seconds: float = _START) -> Generator[DaskPool]:
    """The workers of the cluster whose scheduler is at an address such as `tcp://host:8786`; they go on afterwards.

    Raises `DiagnosticError`: AM470 where Dask is missing, AM473 where there is no scheduler or no worker in so many
    seconds, or a worker has other packages.
    """
    require_dask()
    from dask import config
    from distributed import Client

    with config.set(_CONFIG):
        try:
            client = Client(address, timeout=min(seconds, 15.0), set_as_default=False)
        except (OSError, ValueError, TimeoutError) as problem:
            message = f"there is no scheduler at `{address[:200]}`: {_words(problem)}"
            raise error("AM473", message, help="`dask scheduler` prints its address when it starts") from problem
        with client:
            workers = _workers_of(client, seconds)
            _check_versions(client)
            with _holding(client, job, workers, seconds) as pool:
                yield pool


@contextmanager
def _holding(client: Client, job: CalibrationJob, workers: int, seconds: float) -> Generator[DaskPool]:
    """The workers, holding a calibration as long as the block lasts."""
    from amctc.scaleout.pool import DaskPool, worker_count
    from amctc.scaleout.worker import JobPlugin

    try:
        client.wait_for_workers(workers, timeout=seconds)
    except TimeoutError as problem:
        raise _not_up(f"{worker_count(client)} of {workers} are there after {seconds:g} seconds") from problem
    name = f"amctc-{uuid4().hex}"
    client.register_plugin(JobPlugin(name, job), name=name)
    try:
        yield DaskPool(client, name, workers)
    finally:
        # A worker that is about to end may have forgotten it already, and that is no news.
        with contextlib.suppress(Exception):
            client.unregister_worker_plugin(name)


def _workers_of(client: Client, seconds: float) -> int:
    from amctc.scaleout.pool import worker_count

    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as problem:
        help = "start some: `dask worker ADDRESS`, with amctc installed"
        raise error("AM473", "the cluster has no workers", help=help) from problem
    return worker_count(client)


def _check_versions(client: Client) -> None:
    from amctc.scaleout.worker import versions

    here = versions()
    answers: Any = client.run(versions, on_error="return")
    for worker, found in answers.items():
        if not isinstance(found, dict):
            message = f"the worker `{worker}` cannot run amctc: {_words(found)}"
            raise error("AM473", message, help="install the same amctc on every machine of the cluster")
        for package, version in here.items():
            if found.get(package) != version:
                message = f"the worker `{worker}` has {package} {found.get(package)}, and here it is {version}"
                raise error("AM473", message, help="results are the same only with the same packages: install these")


def _not_up(why: str) -> DiagnosticError:
    help = 'a program that calls `amctc.compile` with workers does so under `if __name__ == "__main__":`'
    return error("AM473", f"the workers do not come up: {why[:300]}", help=help)


def _words(problem: object) -> str:
    """The first line of what went wrong."""
    lines = str(problem).splitlines()
    return (lines[0] if lines else type(problem).__name__)[:200]
