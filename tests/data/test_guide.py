"""docs/data.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amctc.runtime.preprocess import Preprocess
from amctc.runtime.preprocess_text import STEPS
from tests.shared_files import ROOT

GUIDE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_guide_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert len(blocks("python")) == 5
    for block in blocks("python"):
        exec(compile(block, "docs/data.md", "exec"), names)


def test_the_preprocessing_of_the_guide_is_legal() -> None:
    texts = blocks("text")
    assert len(texts) == 2
    for text in texts:
        assert str(Preprocess.parse(text.strip())) == text.strip()


def test_the_guide_tells_every_step() -> None:
    table = GUIDE.split("| step |")[1].split("\n\n")[0]
    told = re.findall(r"`([a-z-]+)[=`]", "\n".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert set(told) == set(STEPS)
