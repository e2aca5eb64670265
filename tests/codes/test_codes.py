"""Every code that the program can give has an entry in the table, and the entries' examples do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from amctc.codes import AREAS, Code, all_codes, code_text, find_code
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError
from amctc.dialects.caffe.merged_schema import schema_with
from amctc.frontends import load_model
from amctc.pipeline.order import check_complete
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy.check import check_text
from amctc.registry import builtin_registry
from amctc.runtime.preprocess import Preprocess
from amctc.source import SourceFile
from tests.shared_files import ROOT

EXECUTED = [entry for entry in all_codes().values() if entry.executed]


def codes_in_the_sources() -> set[str]:
    """Literal codes, and those of `schema_check`: a beginning and a digit, where policies have AM230 for the 5."""
    found: set[str] = {"AM115"}
    for folder in ("amctc", "passes", "targets"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found.update(re.findall(r'"(AM\d{3})"', text))
            found.update(f"{begin}{digit}" for begin in re.findall(r'"(AM\d{2})"', text) for digit in range(5))
    return found


def told(entry: Code, example: str, folder: Path) -> set[str]:
    """The codes of everything that an example gives."""
    return {found.code for found in diagnostics(entry, example, folder)}


def diagnostics(entry: Code, example: str, folder: Path) -> tuple[Diagnostic, ...]:
    collector = Collector()
    try:
        if entry.form in ("cfg", "json"):
            graph = load_model(ROOT / "examples/digits/digits.prototxt") if entry.model else None
            return check_text(SourceFile(f"policy.{entry.form}", example), graph)
        if entry.form == "pipeline":
            check_complete(parse_pipeline(SourceFile("--pipeline", example), builtin_registry()))
        elif entry.form == "preprocess":
            Preprocess.parse(example)
        else:
            path = folder / f"example.{entry.form}"
            path.write_text(example, encoding="utf-8")
            if entry.form == "prototxt":
                load_model(path, None, collector)
            else:
                schema_with([path], collector)
    except DiagnosticError as refusal:
        return refusal.diagnostics
    return collector.warnings


def test_every_code_in_the_sources_has_an_entry() -> None:
    assert codes_in_the_sources() == all_codes().keys()


@pytest.mark.parametrize("entry", all_codes().values(), ids=lambda entry: entry.code)
def test_an_entry_says_everything_in_sentences(entry: Code) -> None:
    assert re.fullmatch(r"AM\d{3}", entry.code)
    assert any(entry.code.startswith(begin) for begin in AREAS)
    assert not entry.title.endswith(".") and len(entry.title) < 80
    for text in (entry.means, entry.why, entry.mend):
        assert text[0].isupper() or text.startswith(("`", "amctc ", "protobuf")), text
        assert text.endswith("."), text
    assert entry.bad and entry.bad != entry.good


@pytest.mark.parametrize("entry", EXECUTED, ids=lambda entry: entry.code)
def test_the_bad_example_of_a_code_gives_it(entry: Code, tmp_path: Path) -> None:
    assert entry.code in told(entry, entry.bad, tmp_path)


@pytest.mark.parametrize("entry", EXECUTED, ids=lambda entry: entry.code)
def test_the_mended_example_of_a_code_is_clean(entry: Code, tmp_path: Path) -> None:
    # That a feature is not built is no mistake of the example.
    assert told(entry, entry.good, tmp_path) - {"AM290"} == set()


def test_no_two_codes_have_one_title() -> None:
    titles = [entry.title for entry in all_codes().values()]
    assert len(set(titles)) == len(titles)


def test_a_code_is_found_in_small_letters() -> None:
    assert find_code("am210") is all_codes()["AM210"]


def test_an_unknown_code_names_the_nearest_one() -> None:
    with pytest.raises(DiagnosticError) as caught:
        find_code("AM2010")
    (found,) = caught.value.diagnostics
    assert found.code == "AM811"
    assert found.help is not None and found.help.startswith("did you mean `AM2")


def test_an_entry_as_text_has_both_examples() -> None:
    text = code_text(find_code("AM210"))
    assert text.startswith("AM210: a number out of range\n")
    assert "bad:\n    common_config { ifmr_quantize { num_bits: 20 } }" in text
    assert "good:\n    common_config { ifmr_quantize { num_bits: 8 } }" in text


def test_the_page_of_codes_is_current() -> None:
    written: Any = runpy.run_path(str(ROOT / "docs" / "write_codes.py"))["codes_page"]
    page = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
    assert page == written(), "run `make docs`"
