"""Where a calibration keeps what it has seen, and what tells it from others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from amctc.diagnostics import DiagnosticError, error
from amctc.ir import Graph
from amctc.output import write_files
from amctc.policy import Policy
from amctc.runtime.calibration import Reader
from amctc.runtime.calibration_state import NoState
from amctc.runtime.checkpoint import Checkpoint, is_checkpoint, read_checkpoint
from amctc.runtime.look import Look
from amctc.runtime.sharded_calibration import Found


class CheckpointFile:
    """The checkpoint of one calibration, written anew at most every `seconds`.

    `identity` are words by what they identify: a checkpoint goes on only where all of them are the same.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, str], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._identity = dict(identity)
        self._seconds = seconds
        self._clock = clock
        self._written = clock()

    def begin(self, names: Collection[str], start_over: bool) -> Found:
        """What the file has seen, nothing where there is none or to `start_over`; `names` are those of the looks.

        Raises `DiagnosticError`: AM475 for the checkpoint of something else, AM476 for what is no checkpoint or is
        damaged, AM700 where no file can be written.
        """
        found = {} if start_over and self._may_replace() else self._read(names)
        self._write(found)
        return found

    def note(self, looks: Mapping[str, Look]) -> None:
        """Write what was seen, if the last time is long enough ago. Raises `DiagnosticError` (AM700)."""
        if self._clock() - self._written >= self._seconds:
            self._write({name: tuple(look.states()) for name, look in looks.items()})
            self._written = self._clock()

    def remove(self) -> None:
        """The calibration is of no more use."""
        self._path.unlink(missing_ok=True)

    def damaged(self, why: NoState) -> DiagnosticError:
        """AM476 for this file."""
        message = f"this checkpoint cannot be read: {why}"
        return error("AM476", message, file=str(self._path), help="calibrate from the start with `--start-over`")

    def _write(self, found: Found) -> None:
        write_files({self._path: Checkpoint(self._identity, found).to_bytes()})

    def _may_replace(self) -> bool:
        try:
            if not self._path.exists() or is_checkpoint(self._path):
                return True
        except OSError as problem:
            raise self._unreadable(problem) from None
        message = "this file is no checkpoint, and is not replaced"
        raise error("AM476", message, file=str(self._path), help="name another file, or take it away")

    def _read(self, names: Collection[str]) -> Found:
        if not self._may_replace() or not self._path.exists():
            return {}
        try:
            checkpoint = read_checkpoint(self._path)
        except OSError as problem:
            raise self._unreadable(problem) from None
        except NoState as why:
            raise self.damaged(why) from None
        keys = sorted(self._identity.keys() | checkpoint.identity.keys())
        differ = [key for key in keys if checkpoint.identity.get(key) != self._identity.get(key)]
        if differ:
            told = f"this checkpoint is of another calibration; what differs: {', '.join(differ)}"
        elif not checkpoint.found.keys() <= set(names):
            told = (
                "this checkpoint was made with workers, or this run has them; with HFMG the two keep different things"
            )
        else:
            return checkpoint.found
        help = "take what it was made with, another file, or `--start-over` to calibrate from the start"
        raise error("AM475", told, file=str(self._path), help=help)

    def _unreadable(self, problem: OSError) -> DiagnosticError:
        return self.damaged(NoState((problem.strerror or str(problem)).lower()))


def calibration_identity(
    model: Iterable[str | Path],
    policy: Policy,
    pipeline: str,
    plugins: Sequence[str | Path],
    data: str,
    batches: str,
) -> dict[str, str]:
    """What tells a calibration from others: SHA-256 of files, or words. Raises `OSError`."""
    rules = policy.source.text if policy.source is not None else repr(policy)
    return {
        "model": _files_hash(model),
        "policy": hashlib.sha256(rules.encode(errors="surrogatepass")).hexdigest(),
        "pipeline": pipeline,
        "plug-ins": _files_hash(plugins),
        "data": data,
        "batches": batches,
        "versions": " ".join(f"{name} {version(name)}" for name in ("amctc", "onnxruntime")),
    }


def network_identity(graph: Graph, readers: Sequence[Reader]) -> str:
    """A SHA-256 of the layers, their attributes and weights, and of what is looked at."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        inputs = [value.name for value in node.inputs]
        digest.update(repr((node.name, node.op, inputs, sorted(node.attrs.items()))).encode(errors="surrogatepass"))
        for role, array in sorted(node.weights.items()):
            digest.update(repr((role, array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for reader in readers:
        values = [value.name for value in reader.values]
        digest.update(repr((values, reader.settings, reader.name, reader.observer)).encode(errors="surrogatepass"))
        for constant in reader.constants:
            digest.update(constant.tobytes())
    return digest.hexdigest()


def _files_hash(files: Iterable[str | Path]) -> str:
    """The SHA-256 of the hashes of what files hold, in their order."""
    whole = hashlib.sha256()
    for path in files:
        with Path(path).open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
