"""Which targets are written, and what is told where one of them breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.ir import Graph
from amctc.output import output_paths
from amctc.pipeline.target import Target
from amctc.registry import BUILT_IN, current_registry


@dataclass(frozen=True)
class Emitter:
    """A target and who registered it."""

    target: Target
    owner: str


def find_targets(names: str | Sequence[str]) -> tuple[Emitter, ...]:
    """The targets of these names. Raises `DiagnosticError` (AM701) for a name that there is not."""
    return tuple(_find(name) for name in ([names] if isinstance(names, str) else names))


def emit_files(emitters: Sequence[Emitter], graph: Graph, output: str | Path) -> dict[Path, bytes]:
    """The files of all targets by their paths; nothing is written.

    Raises `DiagnosticError`: AM528 where a target of a plug-in fails, AM702 where two write the same file.
    """
    files: dict[Path, bytes] = {}
    for emitter in emitters:
        for path, content in output_paths(output, _emit(emitter, graph)).items():
            if path in files:
                message = f"the target `{emitter.target.name}` and one before it both write this file"
                raise error("AM702", message, file=str(path), help="write them with two commands, and two prefixes")
            files[path] = content
    return files


def _find(name: str) -> Emitter:
    registry = current_registry()
    if name not in registry.targets:
        help = did_you_mean(name, registry.targets) or f"there are: {', '.join(registry.targets)}"
        raise error("AM701", f"there is no target named `{name}`", help=help)
    entry = registry.targets[name]
    return Emitter(entry.load()(), entry.owner)


def _emit(emitter: Emitter, graph: Graph) -> Mapping[str, bytes]:
    if emitter.owner == BUILT_IN:
        return emitter.target.emit(graph)
    name = emitter.target.name
    help = f"this is a mistake in `{name}`, which belongs to {emitter.owner}"
    try:
        files = dict(emitter.target.emit(graph))
    except DiagnosticError:
        raise
    except Exception as failure:  # of code that is not ours
        message = f"the target `{name}` failed with {type(failure).__name__}: {failure}"
        raise error("AM528", message, help=help) from failure
    for ending, content in files.items():
        if not isinstance(ending, str) or not isinstance(content, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"the target `{name}` gives {type(content).__name__} for `{ending}`, where bytes are expected"
            raise error("AM528", message, help=help)
        if Path(ending).name != ending:
            raise error("AM528", f"the target `{name}` gives the path `{ending}`, where a name is expected", help=help)
    return files
