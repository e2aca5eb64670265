"""Checking policy files: everything that can be said of them at once, with a model or without."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, to_json
from amctc.ir import Graph
from amctc.policy.availability import not_yet_available
from amctc.policy.flavours import usual_flavour
from amctc.policy.read import MAX_POLICY_BYTES, read_policy
from amctc.policy.resolve import resolve
from amctc.policy.rules import Policy
from amctc.policy.selectors import check_selectors
from amctc.source import SourceFile
from amctc.text.files import read_text

CHECK_VERSION = 1

MoreChecks: TypeAlias = Callable[[Policy], Iterable[Diagnostic]]
"""What others have to say of a policy: of the passes that it names, for one."""


def _nothing(policy: Policy) -> Iterable[Diagnostic]:
    return ()


@dataclass(frozen=True)
class FileReport:
    """What was found in one file, in the order of the file; `file` is its name as the user gave it."""

    file: str
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> int:
        return sum(found.level is Level.ERROR for found in self.diagnostics)

    @property
    def warnings(self) -> int:
        return sum(found.level is Level.WARNING for found in self.diagnostics)


def check_files(
    paths: Iterable[str | Path],
    graph: Graph | None = None,
    flavour: str | None = None,
    more: MoreChecks = _nothing,
) -> tuple[FileReport, ...]:
    """Errors and warnings of policy files: of the files alone, or of what they mean for a graph.

    Raises nothing for mistakes in the files; a file that cannot be read is one (AM100 to AM105).
    """
    return tuple(_check_file(path, graph, flavour, more) for path in paths)


def check_text(
    source: SourceFile, graph: Graph | None = None, flavour: str | None = None, more: MoreChecks = _nothing
) -> tuple[Diagnostic, ...]:
    """Errors and warnings of a policy's text, in the order of the text.

    With a graph names and types are checked too, and what `amctc compile` would refuse because it
    is not built (AM290) is a warning: the policy itself is right. A flavour that there is not
    (AM231) is told without a place.
    """
    try:
        policy = read_policy(source, flavour, usual_flavour(graph))
        if graph is None:
            return _in_order((*policy.warnings, *_wrong_patterns(policy), *more(policy)))
        resolved = resolve(policy, graph)
        refused = (replace(found, level=Level.WARNING) for found in not_yet_available(resolved))
        return _in_order((*resolved.warnings, *refused, *more(policy)))
    except DiagnosticError as mistakes:
        return _in_order(mistakes.diagnostics)


def reports_to_json(reports: Sequence[FileReport]) -> dict[str, object]:
    """The reports as plain data, with the version of their form."""
    files = [
        {"file": report.file, "diagnostics": [to_json(found) for found in report.diagnostics]} for report in reports
    ]
    return {"version": CHECK_VERSION, "files": files}


def _wrong_patterns(policy: Policy) -> Sequence[Diagnostic]:
    """AM234 for names that look like patterns and are none; with a graph they may be names of its layers."""
    collector = Collector()
    overrides = {
        "override_layer_types": policy.override_layer_types,
        "override_layer_configs": policy.override_layer_configs,
    }
    for where in ("skip_layers", "skip_layer_types", "skip_fusion_layers"):
        check_selectors(getattr(policy, where), f"`{where}`", collector)
    for where, found in overrides.items():
        check_selectors((override.name for override in found), f"`{where}`", collector)
    check_selectors((layer.name for layer in policy.layers or ()), "the entries of layers", collector)
    return collector.diagnostics


def _check_file(path: str | Path, graph: Graph | None, flavour: str | None, more: MoreChecks) -> FileReport:
    try:
        source = read_text(path, MAX_POLICY_BYTES)
    except DiagnosticError as mistakes:
        return FileReport(str(path), mistakes.diagnostics)
    return FileReport(str(path), check_text(source, graph, flavour, more))


def _in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """In the order of the text, each once; what has no place comes first."""
    return tuple(sorted(dict.fromkeys(diagnostics), key=lambda d: d.span.start if d.span is not None else -1))
