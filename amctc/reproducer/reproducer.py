"""The folder of a reproducer: a graph, the passes still to run, and what they need."""

from __future__ import annotations

import io
import json
import math
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.ir.stored_weights import StoredWeights
from amctc.ir.verify import InvalidGraph, verify
from amctc.pipeline.context import Feeds
from amctc.plugins import load_plugins
from amctc.policy import ResolvedPolicy
from amctc.records.read_record import read_record
from amctc.records.scale_record import ScaleRecord, record_text
from amctc.reproducer.data_reference import DataReference
from amctc.reproducer.failure import Failure
from amctc.reproducer.policy_data import policy_from_plain, policy_to_plain
from amctc.runtime.arrays import npz_names, read_npz
from amctc.text.files import read_text

GRAPH, WEIGHTS, POLICY, RECORD, BATCH, INDEX, README = (
    "graph.ir",
    "weights.npz",
    "policy.json",
    "record.txt",
    "batch.npz",
    "reproducer.json",
    "README.txt",
)
_VERSION = 1


@dataclass(frozen=True)
class Reproducer:
    """A graph, the text of a pipeline that fails on it, and all that the passes need.

    `batch` is one batch of data for the inputs, `plugins` are the files that register passes, and `tolerance` is
    that of the check for equal numbers, None without it.
    """

    graph: Graph
    pipeline: str
    failure: Failure
    policy: ResolvedPolicy | None = None
    batch: Feeds | None = None
    data: DataReference | None = None
    plugins: tuple[str, ...] = ()
    tolerance: float | None = None
    record: ScaleRecord | None = None


def replay_command(folder: Path, plugins: Sequence[str] = ()) -> str:
    """The command line that shows the failure again."""
    return shlex.join(["amctc", "replay", str(folder), *(word for file in plugins for word in ("--plugin", file))])


def files_of(reproducer: Reproducer, readme: str) -> dict[str, bytes]:
    """The content of every file of the folder, by name."""
    stored = StoredWeights.of(reproducer.graph, WEIGHTS)
    files = {
        GRAPH: print_graph(reproducer.graph, stored=stored).encode(),
        INDEX: _json(_index(reproducer)),
        README: readme.encode(),
    }
    if stored.arrays:
        files[WEIGHTS] = _npz(stored.arrays)
    if reproducer.policy is not None:
        files[POLICY] = _json(policy_to_plain(reproducer.policy))
    if reproducer.record is not None:
        files[RECORD] = record_text(reproducer.record.layers).encode()
    if reproducer.batch is not None:
        files[BATCH] = _npz({str(number): array for number, array in enumerate(reproducer.batch.values())})
    return files


def read_reproducer(folder: Path, plugins: Sequence[str | Path] = ()) -> Reproducer:
    """The reproducer in a folder; its graph is a new one each time.

    Nothing in the folder is run, and only files with the names of a reproducer's are opened. The plug-ins are loaded
    that the caller names, and no others: one that the reproducer needs must be among them. Raises `DiagnosticError`:
    AM534 for what no reproducer holds, AM535 for a plug-in that is not given, AM520 to AM523 for one that does not
    load, AM100 to AM105, AM150, AM441, AM442 and AM600 to AM603 for files that cannot be read.
    """
    if not folder.is_dir():
        raise error("AM534", f"there is no folder `{folder}`", file=str(folder))
    for name in (GRAPH, WEIGHTS, POLICY, RECORD, BATCH, INDEX):
        if (folder / name).exists() and not (folder / name).is_file():
            raise error("AM534", "this is not a regular file", file=str(folder / name))
    index = _Index(folder)
    _require_plugins(folder, index.texts("plugins"), plugins)
    load_plugins(plugins)
    policy: ResolvedPolicy | None = None
    if index.flag("policy"):
        try:
            policy = policy_from_plain(_read_json(folder / POLICY))
        except ValueError as problem:
            message = f"this is not the policy of a reproducer: {problem}"
            raise error("AM534", message, file=str(folder / POLICY)) from None
    return Reproducer(
        graph=_graph(folder),
        pipeline=index.text("pipeline"),
        failure=index.failure(),
        policy=policy,
        batch=index.batch(),
        data=index.data(),
        plugins=index.texts("plugins"),
        tolerance=index.tolerance(),
        record=read_record(folder / RECORD) if (folder / RECORD).exists() else None,
    )


def _require_plugins(folder: Path, needed: Sequence[str], given: Sequence[str | Path]) -> None:
    """A plug-in is a program: that a folder of somebody else's names one is no reason to run it."""
    names = {Path(file).name for file in given}
    missing = [file for file in needed if Path(file).name not in names]
    if missing:
        command = replay_command(folder, (*map(str, given), *missing))
        help = f"say so if you trust it: `{command}`"
        raise error("AM535", f"this reproducer needs the plug-in `{missing[0]}`", file=str(folder), help=help)


def _index(reproducer: Reproducer) -> dict[str, object]:
    failure, data = reproducer.failure, reproducer.data
    return {
        "version": _VERSION,
        "pipeline": reproducer.pipeline,
        "failure": {"pass": failure.step, "exception": failure.exception, "what": failure.what},
        "policy": reproducer.policy is not None,
        "batch": None if reproducer.batch is None else list(reproducer.batch),
        "data": None if data is None else asdict(data),
        "plugins": list(reproducer.plugins),
        "check_equivalence": reproducer.tolerance,
    }


def _graph(folder: Path) -> Graph:
    path = folder / GRAPH
    graph = parse_graph(read_text(path), _array_reader(folder))
    for node in graph.nodes:
        try:
            row = op_def(node)
        except KeyError:
            message = f"layer `{node.name}` is of the op `{node.op}`, and there is none of that name"
            raise error("AM534", message, file=str(path)) from None
        if not (row.inputs.allows(len(node.inputs)) and row.outputs.allows(len(node.outputs))):
            raise error("AM534", f"layer `{node.name}` has too few or too many inputs or outputs", file=str(path))
    try:
        verify(graph)
    except InvalidGraph as broken:
        raise error("AM534", f"this graph is broken: {broken}", file=str(path)) from None
    return graph


def _array_reader(folder: Path) -> Callable[[str, str], NDArray[Any]]:
    """Reads weights, the whole file when the first of them is wanted."""
    read: dict[str, Mapping[str, NDArray[Any]]] = {}

    def array(file: str, key: str) -> NDArray[Any]:
        path = folder / file
        if file != WEIGHTS:
            raise error("AM534", f"weights lie in `{WEIGHTS}`, not in `{file}`", file=str(folder / GRAPH))
        if file not in read:
            read[file] = _read_arrays(path, npz_names(path))
        if key not in read[file]:
            raise error("AM534", f"there is no array `{key}` in this file", file=str(path))
        return read[file][key]

    return array


def _read_arrays(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    _require_unpacked(path)
    present = npz_names(path)
    missing = [name for name in names if name not in present]
    if missing:
        raise error("AM534", f"there is no array `{missing[0]}` in this file", file=str(path))
    return {name: np.array(array) for name, array in read_npz(path, names).items()}


def _require_unpacked(path: Path) -> None:
    """A packed archive could hold a thousand times what it is large; we never write one."""
    npz_names(path)
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise error("AM534", "the arrays of a reproducer are not packed, as these are", file=str(path))


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword allow_pickle for an array name
    return buffer.getvalue()


def _json(content: object) -> bytes:
    return f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode()


def _read_json(path: Path) -> object:
    try:
        content: object = json.loads(read_text(path).text)
    except (ValueError, RecursionError) as problem:
        raise error("AM534", f"this is not JSON: {str(problem).lower()}", file=str(path)) from None
    return content


class _Index:
    """`reproducer.json`, whose every field is looked at before it is believed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / INDEX
        content = _read_json(self.path)
        self.fields: dict[str, object] = content if isinstance(content, dict) else {}
        if self.fields.get("version") != _VERSION:
            raise self.wrong("version")

    def wrong(self, name: str) -> DiagnosticError:
        help = f"this version reads reproducers of version {_VERSION}, as `amctc compile` writes them"
        message = f"`{name}` is missing or is not what a reproducer has there"
        return error("AM534", message, file=str(self.path), help=help)

    def text(self, name: str) -> str:
        found = self.fields.get(name)
        if not isinstance(found, str):
            raise self.wrong(name)
        return found

    def flag(self, name: str) -> bool:
        found = self.fields.get(name)
        if not isinstance(found, bool):
            raise self.wrong(name)
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.fields.get(name)
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise self.wrong(name)
        return tuple(map(str, found))

    def failure(self) -> Failure:
        found = self.fields.get("failure")
        if not isinstance(found, dict):
            raise self.wrong("failure")
        parts = [found.get(name) for name in ("pass", "exception", "what")]
        if not all(isinstance(part, str) for part in parts):
            raise self.wrong("failure")
        return Failure(*map(str, parts))

    def tolerance(self) -> float | None:
        found = self.fields.get("check_equivalence")
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not (math.isfinite(found) and found >= 0):
            raise self.wrong("check_equivalence")
        return float(found)

    def batch(self) -> dict[str, NDArray[Any]] | None:
        if self.fields.get("batch") is None:
            return None
        names = self.texts("batch")
        arrays = _read_arrays(self.folder / BATCH, [str(number) for number in range(len(names))])
        return dict(zip(names, arrays.values(), strict=True))

    def data(self) -> DataReference | None:
        found = self.fields.get("data")
        if found is None:
            return None
        if not isinstance(found, dict):
            raise self.wrong("data")
        data, preprocess, size = (found.get(name) for name in ("data", "preprocess", "batch_size"))
        most, seed = found.get("max_samples"), found.get("sample_seed")
        plain = isinstance(data, str) and (preprocess is None or isinstance(preprocess, str))
        if not plain or type(size) is not int or not 0 < size < 2**31:
            raise self.wrong("data")
        if not (most is None or type(most) is int) or not (seed is None or type(seed) is int):
            raise self.wrong("data")
        return DataReference(str(data), None if preprocess is None else str(preprocess), size, most, seed)
