"""Which targets are written, and what is told where one of them breaks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amctc.diagnostics import DiagnosticError, error
from amctc.ir import Graph
from amctc.output import name_prefix, output_paths
from amctc.pipeline.emission import Emission
from amctc.pipeline.target import Target
from amctc.pipeline.target_text import parse_targets
from amctc.policy import Policy
from amctc.registry import BUILT_IN, current_registry
from amctc.source import SourceFile


@dataclass(frozen=True)
class Emitter:
    """A target and who registered it."""

    target: Target
    owner: str


def find_targets(texts: str | Sequence[str]) -> tuple[Emitter, ...]:
    """The targets of a text such as `caffe,other{level=2}`, or of several such texts.

    Raises `DiagnosticError` at the character: AM701 for a name that there is not, AM703 for what is no such text,
    AM502 and AM503 for options.
    """
    registry = current_registry()
    sources = [SourceFile("--target", text) for text in ([texts] if isinstance(texts, str) else texts)]
    targets = [target for source in sources for target in parse_targets(source, registry)]
    return tuple(Emitter(target, registry.targets[target.name].owner) for target in targets)


def emission_of(policy: Policy | None, pipeline: str | None) -> Emission:
    """What the targets get to know of the policy, None where a record gave the scales, and of the passes that ran."""
    source = policy.source if policy is not None else None
    digest = hashlib.sha256(source.text.encode(errors="surrogatepass")).hexdigest() if source is not None else None
    return Emission(policy_sha256=digest, pipeline=pipeline)


def emit_files(emitters: Sequence[Emitter], graph: Graph, output: str | Path, emission: Emission) -> dict[Path, bytes]:
    """The files of all targets by their paths; nothing is written.

    Raises `DiagnosticError`: AM528 where a target of a plug-in fails, AM702 where two write the same file.
    """
    files: dict[Path, bytes] = {}
    for emitter in emitters:
        named = replace(emission, prefix=name_prefix(output))
        for path, content in output_paths(output, _emit(emitter, graph, named)).items():
            if files.get(path, content) != content:
                message = f"the target `{emitter.target.name}` and one before it both write this file, and not the same"
                raise error("AM702", message, file=str(path), help="write them with two commands, and two prefixes")
            files[path] = content
    return files


def _emit(emitter: Emitter, graph: Graph, emission: Emission) -> Mapping[str, bytes]:
    if emitter.owner == BUILT_IN:
        return emitter.target.emit_with(graph, emission)
    name = emitter.target.name
    help = f"this is a mistake in `{name}`, which belongs to {emitter.owner}"
    try:
        files = dict(emitter.target.emit_with(graph, emission))
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
