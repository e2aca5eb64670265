"""The log, and the files that AMCT_LOG_DUMP and ASCEND_WORK_PATH ask for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from amctc.air.text_dump import read_text_dump
from amctc.compat import acl
from amctc.compat.acl.dumps import STAGES
from amctc.compat.acl.log import Dumping
from tests.compat.acl.desk import calibrate, refusal

LOG, RECORD = "amct_acl.log", "scale_offset_record.txt"
GRAPHS = [f"ge_proto_0000000{number}_{stage}.txt" for number, stage in enumerate(STAGES)]


def dumped(place: Path) -> list[str]:
    """The names of the files in the only folder of a log."""
    (folder,) = place.glob("amct_log_*")
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("level", "files"), [("1", [LOG]), ("2", [LOG, RECORD]), ("3", [LOG, *GRAPHS, RECORD])])
def test_each_level_has_its_files(level: str, files: list[str], desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", level)
    assert calibrate() == acl.GRAPH_SUCCESS
    (folder,) = desk.glob("amct_log_*")
    assert re.fullmatch(r"amct_log_\d{14}", folder.name)
    assert dumped(desk) == sorted(files)
    text = (folder / LOG).read_text(encoding="utf-8")
    lines = text.splitlines()
    form = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (EVENT|INFO) - \[AMCT\]:\[\w+\]: .*"
    assert all(re.fullmatch(form, line) for line in lines)
    assert lines[0].endswith("EVENT - [AMCT]:[aclgrphCalibration]: begins")
    assert "[Optimizer]: Do insert-quant" in text and "is done: 2 layers are quantized" in lines[-1]


@pytest.mark.parametrize("level", [None, "", "0"])
def test_without_a_level_nothing_is_written(level: str | None, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if level is not None:
        monkeypatch.setenv("AMCT_LOG_DUMP", level)
    before = sorted(desk.rglob("*"))
    assert calibrate() == acl.GRAPH_SUCCESS
    assert sorted(desk.rglob("*")) == before


@pytest.mark.parametrize("level", ["4", "-1", "yes"])
def test_a_wrong_level_is_told_and_nothing_written(
    level: str, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", level)
    before = sorted(desk.rglob("*"))
    assert calibrate() == acl.GRAPH_SUCCESS
    assert f"AMCT_LOG_DUMP is `{level}`, which is none of 1, 2 and 3" in capsys.readouterr().err
    assert sorted(desk.rglob("*")) == before


def test_the_stages_are_graphs_as_ge_dumps_them(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", "3")
    assert calibrate() == acl.GRAPH_SUCCESS
    (folder,) = desk.glob("amct_log_*")
    models = [read_text_dump(folder / name) for name in GRAPHS]
    types = [[op.type for op in model.graph[0].op] for model in models]
    assert "AscendQuant" not in types[0] and types[0] == types[1]
    assert types[-1].count("AscendQuant") == types[-1].count("AscendDequant") == 2
    filters = [op for op in models[2].graph[0].op if op.name == "conv1_filter"]
    assert [op.output_desc[0].dtype for op in filters] == [3]  # DT_INT8
    assert all(not op.attr["value"].t.data for model in models for op in model.graph[0].op if op.type == "Const")


def test_the_work_path_takes_the_folder(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = desk / "work/of/mine"
    monkeypatch.setenv("AMCT_LOG_DUMP", "2")
    monkeypatch.setenv("ASCEND_WORK_PATH", str(work))
    assert calibrate() == acl.GRAPH_SUCCESS
    assert not list(desk.glob("amct_log_*"))
    (folder,) = (work / "amct_acl").iterdir()
    assert re.fullmatch(rf"amct_log_{os.getpid()}_\d{{14}}", folder.name)
    assert dumped(work / "amct_acl") == [LOG, RECORD]


def test_the_work_path_alone_writes_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_WORK_PATH", str(desk / "work"))
    assert calibrate() == acl.GRAPH_SUCCESS
    assert not (desk / "work").exists()


def test_a_folder_that_cannot_be_written_stops_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("AMCT_LOG_DUMP", "3")
    monkeypatch.setenv("ASCEND_WORK_PATH", str(desk / "file"))
    assert calibrate() == acl.GRAPH_SUCCESS
    shown = capsys.readouterr().err
    assert "amct_acl.log` cannot be written: " in shown and "warning" in shown.lower()
    assert "error[AM700]: cannot write this file" in shown


def test_a_run_at_the_same_time_takes_the_place_of_the_one_before(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", "1")
    now = Dumping(1, desk / "amct_log_20260101000000")
    monkeypatch.setattr("amctc.compat.acl.calibration.dumping", lambda environment: now)
    assert calibrate() == acl.GRAPH_SUCCESS
    first = (desk / "amct_log_20260101000000" / LOG).read_text(encoding="utf-8")
    assert calibrate() == acl.GRAPH_SUCCESS
    second = (desk / "amct_log_20260101000000" / LOG).read_text(encoding="utf-8")
    assert len(first.splitlines()) == len(second.splitlines())


def test_mistakes_are_in_the_log_too(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", "3")
    refusal(capsys, {"SOC_VERSION": "none"})
    assert dumped(desk) == [LOG]
    (path,) = desk.glob(f"amct_log_*/{LOG}")
    assert "ERROR - [AMCT]:[aclgrphCalibration]: error[AM882]" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("level", "shown", "hidden"),
    [
        ("debug", ["EVENT", "WARNING", "INFO", "DEBUG"], []),
        ("info", ["EVENT", "WARNING", "INFO"], ["DEBUG"]),
        ("warning", ["EVENT", "WARNING"], ["INFO", "DEBUG"]),
        ("error", ["EVENT"], ["WARNING", "INFO", "DEBUG"]),
    ],
)
def test_the_level_says_what_is_shown_and_written(
    level: str,
    shown: list[str],
    hidden: list[str],
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AMCT_LOG_DUMP", "1")
    assert calibrate({"LOG_LEVEL": level, "PORT": "8000"}) == acl.GRAPH_SUCCESS
    (path,) = desk.glob(f"amct_log_*/{LOG}")
    for text in (capsys.readouterr().err, path.read_text(encoding="utf-8")):
        assert all(f" - {word} - " in text for word in shown)
        assert not any(f" - {word} - " in text for word in hidden)
        assert ('layer:"conv1" ' in text) == (level == "debug")
