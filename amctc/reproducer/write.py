"""Writing a reproducer: the graph as it was before the pass that failed, found by running the passes again."""

from __future__ import annotations

import platform
import re
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import numpy as np

from amctc.instruments import NotEquivalent, Running
from amctc.ir import Graph
from amctc.output import write_files
from amctc.pipeline.context import Context, Feeds
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.reproducer.data_reference import DataReference
from amctc.reproducer.failure import Broken, Failure, failure_of, layer_names
from amctc.reproducer.reproducer import Reproducer, files_of, replay_command

Reload: TypeAlias = Callable[[], tuple[Graph, Context]]
"""Reads the model again, and gives it with a context as new as the first was."""

MOST_DATA = 64 << 20
"""A batch of more bytes than this is not copied."""


class _Reached(Exception):
    """The run that failed is about to begin."""


class _StopBefore(Instrument):
    def __init__(self, number: int) -> None:
        self._number = number

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        if number == self._number:
            raise _Reached


@dataclass(frozen=True)
class _Stand:
    """A point in the run of a pipeline: the index of the step, the pass (None: a group that does not settle), and
    the number of the run with which the step began."""

    index: int
    step: Pass | None
    first: int


def write_reproducer(
    reload: Reload,
    pipeline: Pipeline,
    number: int,
    broken: Broken,
    *,
    plugins: Sequence[str | Path] = (),
    data: DataReference | None = None,
    folder: Path | None = None,
) -> Path:
    """Write a folder that shows a failure again, and give its path.

    `number` is that of the run that failed. The model is reloaded and the passes before it run again; where this
    comes out differently, the folder gets the model as it was read and the whole pipeline. `data` say where the
    calibration data lie, for a batch too large to copy. The folder is made in `folder`, by default the working one,
    else in that of temporary files. Raises what `reload` raises, and `OSError` or `DiagnosticError` (AM700) where
    nothing can be written.
    """
    failure = failure_of(broken)
    graph, context, text, local = _before(reload, pipeline, number, failure)
    batch = _first_batch(context)
    reproducer = Reproducer(
        graph,
        text,
        failure,
        context.policy,
        batch,
        data if batch is None else None,
        tuple(str(Path(file).absolute()) for file in plugins),
        broken.tolerance if isinstance(broken, NotEquivalent) else None,
        context.record,
    )
    notes = _readme_notes(broken, local, batch is None and context.calibration is not None)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", failure.step)[:80]
    path = new_folder(folder or Path(), f"amctc-reproducer-{name}")
    save(reproducer, notes, path)
    return path


def reproducer_note(
    reload: Reload,
    pipeline: Pipeline,
    number: int,
    broken: Broken,
    *,
    plugins: Sequence[str | Path] = (),
    data: DataReference | None = None,
) -> str:
    """Write a reproducer as `write_reproducer` does, and say where it is, or why there is none. Raises nothing."""
    try:
        path = write_reproducer(reload, pipeline, number, broken, plugins=plugins, data=data)
    except Exception as problem:  # the failure itself is what is to be told
        return f"no reproducer could be written: {type(problem).__name__}: {problem}"
    command = replay_command(path, [str(Path(file).absolute()) for file in plugins])
    return f"a reproducer is in `{path}`; this shows the failure again: `{command}`"


def save(reproducer: Reproducer, notes: Sequence[str], folder: Path) -> None:
    """Write the files of a reproducer into a folder. Raises `DiagnosticError` (AM700)."""
    files = files_of(reproducer, _readme(reproducer, notes, folder))
    write_files({folder / name: content for name, content in files.items()})


def new_folder(parent: Path, wanted: str) -> Path:
    """Make `wanted-1`, or `wanted-2` …, in a folder or, where that cannot be, among the temporary files."""
    try:
        return _new_folder(parent, wanted)
    except OSError:
        return _new_folder(Path(tempfile.gettempdir()), wanted)


def _before(reload: Reload, pipeline: Pipeline, number: int, failure: Failure) -> tuple[Graph, Context, str, bool]:
    """The graph before the pass that failed, its context, the rest of the pipeline; and whether it is that graph."""
    graph, context = reload()
    done, again = _run_until(pipeline, graph, context, number)
    stand = _stand(pipeline, done)
    if stand is None:
        return *reload(), str(pipeline), False
    if again is None:
        return graph, context, _tail(pipeline, stand), True
    if stand.step is None and len(done) + 1 == number and failure_of(again).like(failure, layer_names(graph)):
        graph, context = reload()
        _run_until(pipeline, graph, context, stand.first)
        return graph, context, _tail(pipeline, stand), True
    return *reload(), str(pipeline), False


def _run_until(
    pipeline: Pipeline, graph: Graph, context: Context, number: int
) -> tuple[list[PassRun], PassFailure | None]:
    """Run the passes before run `number`: the runs, and the failure where one came first."""
    running = Running()
    try:
        pipeline.run(graph, context, (running, _StopBefore(number)))
    except _Reached:
        return running.done, None
    except PassFailure as broken:
        return running.done, broken
    return running.done, None


def _stand(pipeline: Pipeline, done: Sequence[PassRun]) -> _Stand | None:
    """Where the pipeline stands after these runs; None at its end."""
    place = 0
    for index, step in enumerate(pipeline.steps):
        first = place + 1
        if isinstance(step, Pass):
            if place == len(done):
                return _Stand(index, step, first)
            place += 1
            continue
        for _ in range(step.limit):
            begin = place
            for each in step.passes:
                if place == len(done):
                    return _Stand(index, each, first)
                place += 1
            if not any(run.changed for run in done[begin:place]):
                break
        else:
            if place == len(done):
                return _Stand(index, None, first)
    return None


def _tail(pipeline: Pipeline, stand: _Stand) -> str:
    """What is left to run. Of a group in the middle of a round only the pass itself: in the group's order the
    passes that are done would come again."""
    step = stand.step if stand.step is not None else pipeline.steps[stand.index]
    return str(Pipeline((step, *pipeline.steps[stand.index + 1 :])))


def _first_batch(context: Context) -> Feeds | None:
    """A copy of the first batch; None where there is none or it is too large."""
    if context.calibration is None:
        return None
    first = next(iter(context.calibration.batches()), None)
    if first is None or sum(array.nbytes for array in first.values()) > MOST_DATA:
        return None
    return {name: np.array(array) for name, array in first.items()}


def _new_folder(parent: Path, wanted: str) -> Path:
    count = 1
    while True:
        path = parent / f"{wanted}-{count}"
        try:
            path.mkdir()
        except FileExistsError:
            count += 1
        else:
            return path


def _readme_notes(broken: Broken, local: bool, large: bool) -> list[str]:
    notes: list[str] = []
    if not local:
        notes.append(
            "The passes in front of it could not be run again in the same way, so that this is the whole model."
        )
    if large:
        notes.append(
            "The calibration data are too large to lie here; `reproducer.json` names them, if they have a name."
        )
    notes += ["", "".join(traceback.format_exception(broken)).rstrip()]
    return notes


def _readme(reproducer: Reproducer, notes: Sequence[str], path: Path) -> str:
    import onnxruntime

    versions = (
        f"amctc {version('amctc')}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, {platform.platform()}"
    )
    lines = [
        f"{reproducer.failure}".rstrip(),
        "",
        "This command shows the failure again:",
        "",
        f"    {replay_command(path, reproducer.plugins)}",
        "",
        f"graph.ir is the graph ({len(reproducer.graph)} layers) before the passes `{reproducer.pipeline}`.",
        "`amctc reduce` makes it smaller. Look at what is in here before you give it away: it holds weights and data.",
        "",
        versions,
        "",
        *notes,
    ]
    return "\n".join(lines) + "\n"
