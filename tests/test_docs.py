"""The pages do what they say (`tests/pages.py` tells how they are followed), and the reference is current."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from amctc.catalog import TargetRow, describe_ops, describe_passes
from amctc.dialects.table import op_table
from amctc.pipeline.options import Option
from amctc.pipeline.pattern import TRAITS
from amctc.policy.limits import LIMITS
from amctc.policy.read_cfg import CFG_MESSAGE, CFG_SCHEMA
from amctc.registry import PASSES, TARGETS, builtin_registry
from amctc.text.proto_schema import load_schema
from tests.pages import Reader, blocks, matches
from tests.shared_files import ROOT

REFERENCE = ROOT / "docs" / "reference.md"
NEED_TORCH = ("from-amct-pytorch.md", "retraining.md", "rounding.md", "torch.md", "training.md")
"""Pages that `make test-torch` follows: tests of their own in the folders that need torch do."""
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one; modules imported from it are forgotten."""
    example = ROOT / "examples" / "digits"
    shutil.copytree(example, tmp_path / "examples" / "digits")
    for path in example.iterdir():
        if path.suffix in (".prototxt", ".caffemodel", ".npz", ".cfg"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in {"COLUMNS": "140", "LINES": "50", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    passes, targets = set(PASSES.rows), set(TARGETS.rows)
    yield tmp_path
    for name in set(PASSES.rows) - passes:
        PASSES.registration(name).remove()
    for name in set(TARGETS.rows) - targets:
        TARGETS.registration(name).remove()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in NEED_TORCH], ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reader = Reader(page, desk, module)
    for block in blocks(page):
        reader.follow(block)


def test_the_reference_is_current() -> None:
    written: Any = runpy.run_path(str(ROOT / "docs" / "write_reference.py"))["reference"]
    assert REFERENCE.read_text(encoding="utf-8") == written(), "run `make docs`"


def test_the_reference_tells_the_options_of_a_target() -> None:
    written: Any = runpy.run_path(str(ROOT / "docs" / "write_reference.py"))["_target"]
    level = Option("level", "int", "2", "how much", (), 0, 3)
    lines = "\n".join(written(TargetRow("other", "Write.", "More of it.", "amctc", (level,)))).splitlines()
    assert lines[0] == "More of it."
    assert lines[-1] == "| `level` | int | 0 … 3 | `2` | how much |"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def table_rows(page: str, heading: str) -> Iterator[list[str]]:
    """The cells of every row of the tables of a page that have this first heading."""
    inside = False
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif inside and set(cells[0]) != {"-"}:
            yield cells
        elif cells[0] == heading:
            inside = True


def test_the_policy_guide_names_every_field_with_its_range() -> None:
    schema = load_schema(CFG_SCHEMA)
    told = {field: row for row in table_rows("policies.md", "field") for field in re.findall(r"`(\w+)`", row[0])}
    package = CFG_MESSAGE.partition(".")[0]
    within = {field.name for field in schema.descriptor(f"{package}.BnUpdateConfig").fields}
    assert told.keys() == {field.name for field in schema.descriptor(CFG_MESSAGE).fields} | within
    for key in ("batch_num", *sorted({f"bn_update_config.{name}" for name in within} & LIMITS.keys())):
        assert told[key.rpartition(".")[2]][2] == str(LIMITS[key]), key
    message = ""
    inner: dict[str, list[str]] = {}
    for row in table_rows("policies.md", "message"):
        message = row[0].strip("`") or message
        inner |= {f"{message}.{field}": row for field in re.findall(r"`(\w+)`", row[1])}
    kinds = {"ifmr_quantize": "FMRQuantize", "arq_quantize": "ARQuantize", "snq_quantize": "SNQuantize"}
    assert inner.keys() == {
        f"{name}.{field.name}"
        for name, kind in kinds.items()
        for field in schema.descriptor(f"{package}.{kind}").fields
    }
    for key in inner.keys() & LIMITS.keys():
        if not key.startswith("snq_quantize"):
            assert inner[key][3].startswith(str(LIMITS[key])), key


def test_the_policy_guide_tells_what_is_on_and_off() -> None:
    told = {when: re.findall(r"`(\w+)`", types) for when, types in table_rows("policies.md", "when")}
    for when, types in told.items():
        caffe = [op.name for op in describe_ops() if op.data == when and op.name.startswith("caffe.")]
        assert sorted(f"caffe.{kind}" for kind in types) == sorted(caffe), when
    assert told.keys() == {op.data for op in describe_ops()}


def test_the_page_on_patterns_tells_every_trait_and_who_has_it() -> None:
    ops = [op for op in op_table().values() if op.dialect == "caffe"]
    told = {trait.strip("`"): words for trait, words in table_rows("patterns.md", "trait")}
    assert told.keys() == TRAITS.keys()
    for trait, words in told.items():
        if trait not in ("quantizable", "custom"):  # nearly all, and none
            names = words.rpartition(": ")[2].split(", ")
            assert sorted(names) == sorted(op.type for op in ops if TRAITS[trait](op)), trait


def test_the_pass_guide_lists_every_pass() -> None:
    assert dict(table_rows("passes.md", "pass")) == {f"`{row.name}`": row.summary for row in describe_passes()}


def test_the_pass_guide_lists_every_pipeline() -> None:
    pipelines = builtin_registry().pipelines
    assert dict(table_rows("passes.md", "pipeline")) == {f"`{name}`": f"`{text}`" for name, text in pipelines.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_an_ellipsis_stands_for_any_lines_and_nothing_else_does() -> None:
    assert matches("a\n…\nd\n", "a\nb\nc\nd\n")
    assert matches("a\n…\nd\n", "a\nd\n")
    assert not matches("a\nd\n", "a\nb\nd\n")
    assert not matches("a\n", "a\nb\n")
