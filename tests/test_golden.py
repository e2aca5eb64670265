"""Passes on small graphs, as text: `tests/golden/PASS/CASE.txt` holds the graph before and after, and what was refused.

`make golden` writes what the passes make today into the files; read the diff before you commit it. The form of
the files is told in `amctc.testing`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.pipeline.rewrite import RewritePass
from amctc.registry import builtin_registry
from amctc.testing import check_golden, golden_files, read_golden

FOLDER = Path(__file__).parent / "golden"
BUILT_IN = sorted(builtin_registry().passes)


@pytest.mark.parametrize("path", golden_files(FOLDER), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_graph_is_what_the_passes_make(path: Path) -> None:
    check_golden(path)


def test_every_folder_is_named_after_a_pass() -> None:
    assert {path.parent.name for path in golden_files(FOLDER)} <= set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_pass_has_a_golden_graph_that_it_changes(name: str) -> None:
    alone = [golden for golden in map(read_golden, golden_files(FOLDER / name)) if golden.changes]
    assert any(name in golden.sections["pipeline"] for golden in alone)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_rewrite_has_a_golden_refusal(name: str) -> None:
    if not issubclass(builtin_registry().passes[name].load(), RewritePass):
        return
    goldens = map(read_golden, golden_files(FOLDER / name))
    assert any(line.startswith(f"{name} ") for golden in goldens for line in golden.refusals)
