"""What runs in the processes of a cluster: shards of one calibration after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version

from distributed import Worker, WorkerPlugin, get_worker

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.plugins import load_plugins
from amctc.runtime.shards import CalibrationJob, Shard, ShardRunner


@dataclass(frozen=True)
class Mistakes:
    """What a shard found wrong, in place of what it has seen."""

    diagnostics: tuple[Diagnostic, ...]


class JobPlugin(WorkerPlugin):
    """Holds the calibration in a worker. Dask gives it to those too that come up later, in place of one that died."""

    def __init__(self, name: str, job: CalibrationJob) -> None:
        self.name = name
        self._job = job
        self._runner: ShardRunner | None = None

    def setup(self, worker: Worker) -> None:
        if self._job.threads is None:
            self._job = replace(self._job, threads=worker.state.nthreads)

    def look_at(self, shard: Shard) -> bytes | Mistakes:
        """What the observers have seen of a shard, the bytes of a `CalibrationState`, or what is wrong."""
        try:
            if self._runner is None:
                load_plugins(self._job.plugins)
                self._runner = ShardRunner(self._job)
            return self._runner.run(shard)
        except DiagnosticError as mistake:
            return Mistakes(mistake.diagnostics)


def look_at(name: str, shard: Shard) -> bytes | Mistakes:
    """Run a shard of the calibration of this name in the worker that this process is."""
    plugin = get_worker().plugins[name]
    if not isinstance(plugin, JobPlugin):
        raise TypeError(f"the plug-in {name!r} of this worker is not ours")
    return plugin.look_at(shard)


def versions() -> dict[str, str]:
    """Of what decides the bits of a result, by package."""
    return {name: version(name) for name in ("amctc", "numpy", "onnxruntime")}
