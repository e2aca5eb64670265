"""Passes on small graphs, as text: `tests/golden/NAME.txt` holds the graph before and after.

`make golden` writes what the passes make today into the files; read the diff before you commit it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.source import SourceFile
from tests.quantized import run_passes

FOLDER = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_a_golden_graph_is_what_the_passes_make(path: Path) -> None:
    head, *parts = re.split(r"^-- (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    graph = parse_graph(SourceFile(path.name, texts["before"]))
    assert print_graph(graph) == texts["before"], "the graph before is not in the printer's own form"
    run_passes(graph, texts["passes"].strip(), texts["policy"])
    made = print_graph(graph)
    if os.environ.get("AMCTC_UPDATE"):
        order = ("passes", "policy", "before")
        path.write_text(head + "".join(f"-- {name}\n{texts[name]}" for name in order) + f"-- after\n{made}")
        return
    assert made == texts["after"]
