"""`amctc check`: all errors and warnings of all files at once, as text or JSON, alone or with a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from amctc.cli import app, main
from amctc.diagnostics import DiagnosticError, Level
from amctc.policy.check import check_files, check_text, reports_to_json
from amctc.source import SourceFile
from tests.policy.bad_policies import ifmr
from tests.policy.texts import SAMPLE_CFG, UNIFORM_JSON, places, small_graph
from tests.shared_files import ROOT

MODEL = ROOT / "examples" / "digits" / "digits.prototxt"


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *(str(argument) for argument in arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.cfg"
    path.write_text('batch_num: 2\nskip_layers: "conv1"\n', encoding="utf-8")
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.cfg"
    path.write_text("batch_num: 0\nskip_layer: 'a'\n" + ifmr("num_bits: 16"), encoding="utf-8")
    return path


def test_a_clean_policy_is_ok(good: Path) -> None:
    done = check(good)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{good}: ok\n", "")


def test_everything_of_all_files_is_told_at_once(good: Path, wrong: Path, tmp_path: Path) -> None:
    layers = tmp_path / "layers.json"
    layers.write_text('{"batchnum": 1}', encoding="utf-8")
    done = check(wrong, tmp_path / "none.cfg", good, layers)
    assert done.exit_code == 1
    assert done.stdout == f"{good}: ok\n"
    codes = ["AM210", "AM200", "AM270", "AM100", "AM228"]
    found = [line.partition("[")[2][:5] for line in done.stderr.splitlines() if line.startswith(("error", "warning"))]
    assert found == codes
    assert done.stderr.endswith("4 errors, 1 warning; `amctc check --code AM210` tells about a code\n")


def test_an_error_is_shown_with_its_line_and_a_caret(wrong: Path) -> None:
    shown = check(wrong).stderr
    assert f"  --> {wrong}:1:12\n1 | batch_num: 0\n  |            ^\n" in shown
    assert "help: did you mean `skip_layers`?" in shown


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "wide.cfg"
    path.write_text(ifmr("num_bits: 16 search_step: 0.001"), encoding="utf-8")
    done = check(path)
    assert (done.exit_code, done.stdout) == (0, f"{path}: ok, 2 warnings\n")
    assert "warning[AM270]" in done.stderr and "warning[AM271]" in done.stderr


def test_json_has_an_entry_for_every_file(good: Path, wrong: Path) -> None:
    done = check("--json", good, wrong)
    assert done.exit_code == 1
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["version"] == 1
    first, second = told["files"]
    assert first == {"file": str(good), "diagnostics": []}
    assert second["file"] == str(wrong)
    keys = ("code", "level", "line", "column", "help")
    assert [tuple(found[key] for key in keys) for found in second["diagnostics"]] == [
        ("AM210", "error", 1, 12, None),
        ("AM200", "error", 2, 1, "did you mean `skip_layers`?"),
        ("AM270", "warning", 5, 29, "write 12: over 8 bits, all widths are stored in 16"),
    ]


def test_json_of_clean_files_ends_with_status_0(good: Path) -> None:
    assert check("--json", good).exit_code == 0


def test_names_are_checked_against_a_model(tmp_path: Path) -> None:
    path = tmp_path / "names.cfg"
    path.write_text('skip_layers: "conv4"\nskip_layer_types: "Convolutoin"\n', encoding="utf-8")
    assert check(path).exit_code == 0
    done = check(path, "--model", MODEL)
    assert done.exit_code == 1
    assert "the model has no layer `conv4`" in done.stderr
    assert "did you mean `Convolution`?" in done.stderr


def test_what_is_not_built_is_a_warning_where_a_model_would_need_it(tmp_path: Path) -> None:
    path = tmp_path / "bits.cfg"
    path.write_text("common_config { arq_quantize { quant_bits: 6 } }\n", encoding="utf-8")
    assert check(path).stdout == f"{path}: ok\n"
    done = check(path, "--model", MODEL)
    assert (done.exit_code, done.stdout) == (0, f"{path}: ok, 1 warning\n")
    assert "warning[AM290]" in done.stderr


def test_a_model_that_cannot_be_read_is_told_as_itself(good: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        CliRunner().invoke(app, ["check", str(good), "--model", "none.prototxt"], catch_exceptions=False)
    assert caught.value.diagnostics[0].code == "AM100"


def test_a_flavour_can_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "quant.cfg"
    path.write_text("update_bn: true\n", encoding="utf-8")
    assert check(path).exit_code == 0
    done = check(path, "--flavour", "pytorch")
    assert done.exit_code == 1
    assert "belongs to the flavour `caffe`" in done.stderr


def test_a_flavour_that_is_not_there_is_told_once(good: Path, wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["amctc", "check", str(good), str(wrong), "--flavour", "torch"])
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("error[AM231]") == 1


def test_a_code_is_explained() -> None:
    done = check("--code", "AM213")
    assert done.exit_code == 0
    assert done.stdout.startswith("AM213: a search step longer than its range\n")
    told = json.loads(check("--code", "am213", "--json").stdout)
    assert told["code"] == "AM213" and told["form"] == "cfg"


def test_nothing_to_check_is_wrong_usage() -> None:
    assert check().exit_code == 2


@pytest.mark.parametrize("text", [SAMPLE_CFG, UNIFORM_JSON])
def test_the_samples_of_the_manual_have_no_errors(text: str) -> None:
    found = check_text(SourceFile("sample", text))
    assert all(diagnostic.level is Level.WARNING for diagnostic in found)


def test_an_override_that_is_skipped_is_told_once_with_a_model() -> None:
    text = 'skip_layers: "conv1"\noverride_layer_configs { layer_name: "conv1" calibration_config { } }\n'
    assert places(check_text(SourceFile("quant.cfg", text), small_graph())) == [("AM225", 2, 38)]


def test_ten_warnings_of_a_kind_stand_for_more() -> None:
    layers = {f"conv{i}": {"activation_quant_params": {"num_bits": 16}} for i in range(12)}
    found = check_text(SourceFile("layers.json", json.dumps(layers, indent=1)))
    assert [diagnostic.code for diagnostic in found] == ["AM270"] * 10
    assert found[-1].notes == ("the same holds in 2 more places",)


def test_a_thousand_mistakes_stand_for_more() -> None:
    text = "".join(f"x{i}: 1\n" for i in range(1500))
    found = check_text(SourceFile("quant.cfg", text))
    assert len(found) == 1000
    assert found[-1].notes == ("500 more mistakes are not told",)


def test_reports_are_plain_data(good: Path) -> None:
    (report,) = check_files([good], small_graph())
    assert (report.file, report.errors, report.warnings) == (str(good), 0, 0)
    assert reports_to_json([report]) == {"version": 1, "files": [{"file": str(good), "diagnostics": []}]}
