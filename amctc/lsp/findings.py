"""What is wrong with a text in an editor, and the changes that mend it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.driver.passes import pass_mistakes
from amctc.lsp.comments import said
from amctc.lsp.near_model import near_model
from amctc.plugins import load_plugins
from amctc.policy import Policy
from amctc.policy.check import check_text
from amctc.source import SourceFile, Span
from amctc.text.prototext import parse_prototext

POLICY_ENDINGS = (".cfg", ".json", ".textproto", ".txtpb", ".conf", "")
"""Files of these names are policies; so are texts that have no file yet."""

NET_ENDINGS = (".prototxt", ".pbtxt")
"""Files of these names are networks; their syntax alone is looked at."""

_MEANT = re.compile(r"did you mean `([^`]+)`\?")
_QUOTED = re.compile(r'write `("[^`]*")`')


@dataclass(frozen=True)
class Fix:
    """A text to put in the place of another, and what to call that."""

    title: str
    span: Span
    text: str


def kind_of(path: Path | None) -> Literal["policy", "net"] | None:
    """What a file is by its name; None for what is no business of ours."""
    ending = path.suffix.lower() if path is not None else ""
    if ending in NET_ENDINGS:
        return "net"
    return "policy" if ending in POLICY_ENDINGS else None


def find(source: SourceFile, path: Path | None) -> tuple[Diagnostic, ...]:
    """Everything wrong with a text, in its order: a policy's with the model next to it, or a net's syntax.

    `path` is the file's, None while it has none. Nothing is wrong with files of other kinds.
    """
    kind = kind_of(path)
    if kind is None:
        return ()
    if kind == "net":
        try:
            parse_prototext(source)
        except DiagnosticError as mistakes:
            return mistakes.diagnostics
        return ()
    model, problem = near_model(source, path)
    flavour = said(source, "flavour")
    graph = model.graph if model is not None else None
    found = check_text(source, graph, flavour.text if flavour is not None else None, _pass_mistakes)
    # A flavour that there is not is told without a place: only the comment has one.
    placed = (replace(each, span=flavour) if each.code == "AM231" else each for each in found)
    return (*((problem,) if problem is not None else ()), *placed)


def _pass_mistakes(policy: Policy) -> tuple[Diagnostic, ...]:
    """What is wrong with the passes of a policy; an installed plug-in that is broken is told where passes are named."""
    if not policy.passes:
        return ()
    try:
        load_plugins()
    except DiagnosticError as mistakes:
        return tuple(replace(each, span=policy.passes[0].name.span) for each in mistakes.diagnostics)
    return pass_mistakes(policy)


def fix_of(diagnostic: Diagnostic) -> Fix | None:
    """The change that a diagnostic proposes in so many words, if it does."""
    span, help = diagnostic.span, diagnostic.help
    if span is None or help is None:
        return None
    quoted = _QUOTED.fullmatch(help)
    if quoted is not None:
        return Fix(f"write {quoted[1]}", span, quoted[1])
    meant = _MEANT.search(help)
    if meant is None:
        return None
    written = span.text
    text = f'"{meant[1]}"' if written[:1] in ("'", '"') else meant[1]
    return Fix(f"change to `{meant[1]}`", span, text)
