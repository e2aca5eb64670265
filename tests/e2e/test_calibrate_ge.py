"""`amctc calibrate-ge` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.air.files import read_air
from amctc.compat import acl
from tests.compat.acl.desk import KEYS, calibrate, float_graph, images, write_air
from tests.e2e.command import Outcome, amctc, contents, succeed


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMCT_LOG_DUMP", raising=False)
    write_air(tmp_path)
    images().tofile("data.bin")
    return tmp_path


def options(**more: str) -> list[str]:
    return [word for key, value in {**KEYS, **more}.items() for word in ("--config", f"{key}={value}")]


def run(*more: str, **keys: str) -> Outcome:
    return amctc("calibrate-ge", "net_model.air", *options(**keys), *more)


def test_a_file_is_quantized(desk: Path) -> None:
    outcome = run("--output", "out/quantized.air")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == "quantized 2 layers by 3 batches of data\n  out/quantized.air\n"
    assert [path.name for path in (desk / "out").iterdir()] == ["quantized.air"]
    graph = float_graph()
    assert calibrate(graph=graph) == acl.GRAPH_SUCCESS
    assert graph.save_to_file("by_api.air") == acl.GRAPH_SUCCESS
    assert read_air("out/quantized.air") == read_air("by_api.air")
    assert succeed("verify-ge", "out/quantized.air") == "out/quantized.air: ok\n"


def test_a_prefix_has_all_files_of_the_target(desk: Path) -> None:
    outcome = run("-o", "out/net")
    assert outcome.status == 0, outcome.stderr
    names = {"net_deploy_model.air", "net_quant.json", "net_scale_offset_record.txt"}
    assert {path.name for path in (desk / "out").iterdir()} == names
    succeed("compile", "net_model.air", "-p", _policy(desk, 'skip_layers: "fc"'), "-d", "data.bin", "-o", "other/net")
    assert {path.name for path in (desk / "other").iterdir()} == names


def _policy(desk: Path, text: str) -> Path:
    (desk / "policy.cfg").write_text(f"{text}\n", encoding="utf-8")
    return desk / "policy.cfg"


def test_what_was_there_keeps_its_permissions(desk: Path) -> None:
    Path("q.air").write_bytes(b"old")
    Path("q.air").chmod(0o600)
    assert run("-o", "q.air").status == 0
    assert Path("q.air").stat().st_mode & 0o777 == 0o600


def test_mistakes_end_with_status_1_and_change_nothing(desk: Path) -> None:
    Path("q.air").write_bytes(b"old")
    before = contents(desk)
    outcome = run("-o", "q.air", SOC_VERSION="Ascend310P")
    assert outcome.status == 1 and not outcome.stdout
    assert "error[AM882]: `Ascend310P`, the value of `SOC_VERSION`, is not known" in outcome.stderr
    assert run("-o", "q.air", INPUT_SHAPE="data:4,3,8,8").status == 1
    assert run("-o", "q.air", CONFIG_FILE="none.cfg").status == 1
    assert amctc("calibrate-ge", "none.air", *options(), "-o", "q.air").status == 1
    assert contents(desk) == before


def test_a_graph_without_layers_to_quantize_is_a_mistake(desk: Path) -> None:
    policy = _policy(desk, 'skip_layer_types: ["Conv2D", "FullyConnection"]')
    outcome = run("-o", "q.air", CONFIG_FILE=str(policy))
    assert outcome.status == 1 and "error[AM224]" in outcome.stderr


def test_a_quantized_graph_is_refused(desk: Path) -> None:
    assert run("-o", "q.air").status == 0
    outcome = amctc("calibrate-ge", "q.air", *options(), "-o", "again.air")
    assert outcome.status == 1 and "error[AM332]: this model is quantized already" in outcome.stderr
    assert not Path("again.air").exists()


def test_warnings_are_on_stderr(desk: Path) -> None:
    outcome = run("-o", "q.air", PORT="8000")
    assert outcome.status == 0
    assert "warning[AM888]: `PORT` has no effect" in outcome.stderr and "AM888" not in outcome.stdout


@pytest.mark.parametrize("text", ["INPUT_FORMAT", "=NCHW"])
def test_what_is_no_key_with_a_value_is_wrong_usage(text: str, desk: Path) -> None:
    outcome = run("--config", text, "-o", "q.air")
    assert outcome.status == 2 and "is no KEY=VALUE" in outcome.stderr


def test_a_key_may_stand_once(desk: Path) -> None:
    outcome = run("--config", "PORT=1", "--config", "PORT=2", "-o", "q.air")
    assert outcome.status == 1 and "error[AM880]: `PORT` is given twice" in outcome.stderr


def test_passes_can_be_watched(desk: Path) -> None:
    outcome = run("-o", "q.air", "--time-passes", "--save-temps", "temps")
    assert outcome.status == 0 and "calibrate" in outcome.stderr
    assert (desk / "temps/00-input.txt").is_file()
