"""What a policy says to the editor in its comments: `# amctc: model=FILE` and `# amctc: flavour=NAME`."""

from __future__ import annotations

import re
from typing import Literal

from amctc.source import SourceFile, Span

_SAID = re.compile(r"^[ \t]*#[ \t]*amctc:[ \t]*(model|flavour)[ \t]*=[ \t]*(\S[^\r\n]*?)[ \t]*\r?$", re.MULTILINE)


def said(source: SourceFile, key: Literal["model", "flavour"]) -> Span | None:
    """The place of what the first comment about the model, or about the flavour, says."""
    for found in _SAID.finditer(source.text):
        if found[1] == key:
            return source.span(*found.span(2))
    return None
