"""Write docs/codes.md, one section for each diagnostic code, from the table in amctc/codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from amctc.codes import AREAS, Code, all_codes

HEAD = """\
# Diagnostic codes

Everything that amctc finds wrong has a code, which never changes its meaning. The same texts are printed by
`amctc check --code AM210`. Examples of policies that need a model are for the network in `examples/digits`.

Written by `make docs` from the table in `amctc/codes`; do not edit. A test says when it is out of date, and runs
the examples.
"""

LANGUAGES = {
    "cfg": "textproto",
    "json": "json5",
    "prototxt": "textproto",
    "proto": "protobuf",
    "shell": "console",
    "python": "py",
}
"""What the examples are marked as; other forms are plain text."""


def codes_page() -> str:
    """The whole text of the page."""
    return "\n".join((HEAD, *_index(), *_sections()))


def _index() -> Iterator[str]:
    for begin, about in AREAS.items():
        entries = [entry for code, entry in all_codes().items() if code.startswith(begin)]
        if entries:
            yield f"**{about}**\n"
            yield "\n".join(f"- [{entry.code}](#{entry.code.lower()}): {entry.title}" for entry in entries) + "\n"


def _sections() -> Iterator[str]:
    for begin, about in AREAS.items():
        entries = [entry for code, entry in all_codes().items() if code.startswith(begin)]
        if entries:
            yield f"## {about}\n"
        for entry in entries:
            yield _section(entry)


def _section(entry: Code) -> str:
    language = LANGUAGES.get(entry.form, "text")
    title = entry.title[0].upper() + entry.title[1:]
    return (
        f"### {entry.code}\n\n**{title}.** {entry.means}\n\n"
        f"Why it is bad: {entry.why}\n\n"
        f"```{language}\n{entry.bad}\n```\n\n"
        f"The mend: {entry.mend}\n\n"
        f"```{language}\n{entry.good}\n```\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(codes_page(), encoding="utf-8")
