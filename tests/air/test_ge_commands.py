"""`amctc verify-ge` and `amctc dump-ge` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amctc.air.files import read_air
from amctc.air.text_dump import dump_text, read_text_dump
from tests.air.ge_files import FOLDER
from tests.e2e.command import amctc, succeed
from tests.shared_files import needs_golden

pytestmark = needs_golden
WHOLE = FOLDER / "ge2026_01_conv_nchw.air"
WRONG = FOLDER / "damaged/ge2026_44_graph_output_index_too_big.air"


def test_a_file_without_errors_ends_well() -> None:
    outcome = amctc("verify-ge", WHOLE)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, f"{WHOLE}: ok\n", "")


def test_errors_of_one_file_fail_the_command_and_name_it() -> None:
    outcome = amctc("verify-ge", WHOLE, WRONG)
    assert outcome.status == 1
    assert outcome.stdout == f"{WHOLE}: ok\n"
    assert "error[AM383]: `output` of the graph: `relu1:9` is an output that there is not" in outcome.stderr
    assert str(WRONG) in outcome.stderr


def test_a_file_with_warnings_alone_ends_well() -> None:
    outcome = amctc("verify-ge", FOLDER / "ge2026_07_opdesc_netoutput.air")
    assert outcome.status == 0
    assert outcome.stdout.endswith(": ok, 1 warning\n")
    assert "warning[AM381]" in outcome.stderr


def test_json_has_every_diagnostic_of_every_file() -> None:
    outcome = amctc("verify-ge", "--json", WHOLE, WRONG)
    assert outcome.status == 1
    told = json.loads(outcome.stdout)
    assert told["version"] == 1
    whole, wrong = told["files"]
    assert whole == {"file": str(WHOLE), "diagnostics": []}
    assert [found["code"] for found in wrong["diagnostics"]] == ["AM383"]


@pytest.mark.parametrize("name", ["none.air", "none.txt"])
def test_a_file_that_is_not_there_is_an_error_like_others(name: str, tmp_path: Path) -> None:
    assert amctc("verify-ge", tmp_path / name).status == 1


@pytest.mark.parametrize("level", ["1", "2"])
def test_a_dump_is_verified_as_its_file_is(level: str, tmp_path: Path) -> None:
    path = tmp_path / "ge_proto_00000000_test.txt"
    path.write_text(succeed("dump-ge", WHOLE, "--level", level), encoding="utf-8")
    assert succeed("verify-ge", path) == f"{path}: ok\n"
    assert (read_text_dump(path) == read_air(WHOLE)) is (level == "1")
    assert succeed("dump-ge", path) == dump_text(read_text_dump(path))


def test_a_dump_with_some_values_must_have_them_all(tmp_path: Path) -> None:
    model = read_air(WHOLE)
    first = next(op for op in model.graph[0].op if op.type == "Const")
    del first.attr["value"]
    path = tmp_path / "dump.txt"
    path.write_text(dump_text(model), encoding="utf-8")
    outcome = amctc("verify-ge", path)
    assert outcome.status == 1
    assert "AM378" in outcome.stderr
