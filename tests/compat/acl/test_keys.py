"""The keys of `aclgrph_calibration`: both spellings of each, what each may say, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from amctc.compat import acl
from amctc.diagnostics import Collector, DiagnosticError
from amctc.driver.ge.keys import KEYS as TABLE
from amctc.driver.ge.settings import GeSettings, log_level, read_settings
from amctc.driver.ge.soc import SOC_VERSIONS
from tests.compat.acl.desk import KEYS, calibrate, refusal
from tests.shared_files import SEEDS, needs_seeds

CONSTANTS = {
    "INPUT_DATA_DIR": "inputDataDir",
    "INPUT_SHAPE": "input_shape",
    "SOC_VERSION": "ge.socVersion",
    "INPUT_FORMAT": "input_format",
    "INPUT_FP16_NODES": "ge.INPUT_NODES_SET_FP16",
    "CONFIG_FILE": "configFile",
    "LOG_LEVEL": "log",
    "OUT_NODES": "ge.outputNodeName",
    "INSERT_OP_CONF": "ge.insertOpFile",
    "INSERT_OP_FILE": "ge.insertOpFile",
    "DEVICE_ID": "deviceId",
    "infer_aicore_num": "ge.aicoreNum",
    "AICORE_NUM": "ge.aicoreNum",
    "IP_ADDR": "ipAddr",
    "PORT": "port",
    "GROUP_ID": "groupId",
}
"""Every name that a key has in the manual or the header, and its text."""


def settings(more: Mapping[str, Any] | None = None, collector: Collector | None = None) -> GeSettings:
    keys = {key: value for key, value in {**KEYS, **(more or {})}.items() if value is not None}
    return read_settings(keys.items(), collector or Collector())


def told(more: Mapping[Any, Any]) -> list[str]:
    with pytest.raises(DiagnosticError) as refused:
        settings(more)
    return [f"{found.location or ''} {found.code} {found.message}".strip() for found in refused.value.diagnostics]


class TestNames:
    @pytest.mark.parametrize("name", CONSTANTS)
    def test_a_constant_has_the_original_s_text(self, name: str) -> None:
        assert getattr(acl, name) == CONSTANTS[name]

    def test_the_table_has_the_same_texts(self) -> None:
        assert {key.name: key.text for key in TABLE.values()}.items() <= CONSTANTS.items()
        assert {spelling for key in TABLE.values() for spelling in key.spellings} == {*CONSTANTS, *CONSTANTS.values()}

    @needs_seeds
    def test_the_manual_names_no_other(self) -> None:
        manual = (SEEDS / "000_aclgrphCalibration.md").read_text(encoding="utf-8")
        assert all(name in manual for name in TABLE if name != "GROUP_ID")

    @pytest.mark.parametrize("name", ["INPUT_DATA_DIR", "INPUT_SHAPE", "SOC_VERSION"])
    def test_what_is_required_may_be_spelt_both_ways(self, name: str, desk: Path) -> None:
        assert calibrate({name: None, CONSTANTS[name]: KEYS[name]}) == acl.GRAPH_SUCCESS

    def test_every_other_key_may_be_spelt_both_ways(self) -> None:
        values = {
            "INPUT_FORMAT": "NCHW",
            "INPUT_FP16_NODES": "data",
            "CONFIG_FILE": "a.cfg",
            "LOG_LEVEL": "debug",
            "OUT_NODES": "fc:0",
            "INSERT_OP_CONF": "aipp.cfg",
            "DEVICE_ID": "0",
            "infer_aicore_num": "8",
            "IP_ADDR": "10.0.0.1",
            "PORT": "8000",
            "GROUP_ID": "1",
        }
        found = settings(values)
        assert (found.input_format, found.log_level, found.config_file) == ("NCHW", "debug", Path("a.cfg"))
        assert [entry.text for entry in (*found.half_inputs, *found.outputs)] == ["data", "fc:0"]
        assert found.aipp_file == Path("aipp.cfg")
        by_text = settings({CONSTANTS[name]: value for name, value in values.items()})
        assert (by_text.input_format, by_text.log_level, by_text.aipp_file) == ("NCHW", "debug", Path("aipp.cfg"))
        assert settings({"INSERT_OP_FILE": "aipp.cfg", "AICORE_NUM": "8"}).aipp_file == Path("aipp.cfg")

    def test_an_unknown_key_names_the_nearest_one(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = refusal(capsys, {"INPUT_SHAPES": "data:2,3,8,8"})
        assert "error[AM880]: there is no key `INPUT_SHAPES`" in text and "did you mean `INPUT_SHAPE`?" in text
        assert told({"zzz": "1"}) == ["AM880 there is no key `zzz`"]
        assert told({3: "1"}) == ["AM880 a key is of type `int`, but must be a text"]

    def test_a_key_under_two_names_is_refused(self) -> None:
        assert told({"input_shape": "data:2,3,8,8"}) == [
            "AM880 `input_shape` is given twice, the other time as `INPUT_SHAPE`"
        ]

    @pytest.mark.parametrize("name", ["INPUT_DATA_DIR", "INPUT_SHAPE", "SOC_VERSION"])
    @pytest.mark.parametrize("value", [None, "", "  "])
    def test_what_is_required_must_be_there(
        self, name: str, value: str | None, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = refusal(capsys, {name: value})
        assert f"error[AM881]: `{name}` is missing" in text and f"`{CONSTANTS[name]}` is the same key" in text

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        assert told({"SOC_VERSION": "x", "LOG_LEVEL": "y", "INPUT_SHAPE": None, "nothing": "z"}) == [
            "AM880 there is no key `nothing`",
            "AM881 `INPUT_SHAPE` is missing",
            "SOC_VERSION:1:1 AM882 `x`, the value of `SOC_VERSION`, is not known",
            "LOG_LEVEL:1:1 AM882 `y`, the value of `LOG_LEVEL`, is not known",
        ]

    def test_an_optional_key_without_a_value_is_as_if_not_given(self) -> None:
        assert settings({"OUT_NODES": "", "CONFIG_FILE": " ", "LOG_LEVEL": ""}) == settings()

    def test_a_value_must_be_a_text(self) -> None:
        assert told({"DEVICE_ID": 0}) == ["AM882 `DEVICE_ID` is of type `int`, but must be a text"]


class TestShape:
    @pytest.mark.parametrize(
        "text",
        ["data:2,3,8,8", '"data:2,3,8,8"', '"data":2,3,8,8', " data : 2, 3 ,8,8 ; ", '"data:2,3,8,8;"'],
    )
    def test_quotes_and_blanks_do_not_matter(self, text: str) -> None:
        assert {name: stated.shape for name, stated in settings({"INPUT_SHAPE": text}).shapes.items()} == {
            "data": (2, 3, 8, 8)
        }

    def test_names_may_have_colons_and_quoted_ones_semicolons(self) -> None:
        found = settings({"INPUT_SHAPE": 'a:0:1,2;"b;c":4'}).shapes
        assert {name: stated.shape for name, stated in found.items()} == {"a:0": (1, 2), "b;c": (4,)}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("data", "INPUT_SHAPE:1:1 AM883 `data` is no name with a shape"),
            (":1,2", "INPUT_SHAPE:1:1 AM883 `:1,2` is no name with a shape"),
            ("data:1,x,2", "INPUT_SHAPE:1:8 AM883 `x` is no size"),
            ("data:1,3,-1,8", "INPUT_SHAPE:1:10 AM883 `-1` is no size"),
            ("data:0,3", "INPUT_SHAPE:1:6 AM883 `0` is no size"),
            ("data:", "INPUT_SHAPE:1:6 AM883 `` is no size"),
            ("data:1,,2", "INPUT_SHAPE:1:8 AM883 `` is no size"),
            ("data:2147483648", "INPUT_SHAPE:1:6 AM883 `2147483648` is no size"),
            ("data:٣", "INPUT_SHAPE:1:6 AM883 `٣` is no size"),
            ("data:1,1,1,1,1,1,1,1,1", "INPUT_SHAPE:1:6 AM883 a shape has 8 sizes at most, not 9"),
            ("a:1;a:2", "INPUT_SHAPE:1:5 AM883 `a` has two shapes"),
            ("a:1;;b:1", "INPUT_SHAPE:1:5 AM882 `INPUT_SHAPE` has an entry with nothing in it"),
            ('"a:1', "INPUT_SHAPE:1:1 AM882 a quote in `INPUT_SHAPE` has no second one"),
        ],
    )
    def test_what_is_no_shape_is_told_at_its_place(self, text: str, said: str) -> None:
        assert told({"INPUT_SHAPE": text}) == [said]

    def test_a_list_without_end_is_refused(self) -> None:
        assert "has 1001 entries" in told({"INPUT_SHAPE": ";".join(f"a{n}:1" for n in range(1001))})[0]
        assert told({"INPUT_SHAPE": "data:" + "9" * 100_000})[0].endswith("is no size")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("dato:2,3,8,8", "error[AM884]: the graph has no input `dato`"),
            ("conv1:2,3,8,8", "error[AM884]: the node `conv1` is no input of the graph, but of the type Conv2D"),
            ("data:2,3,9,8", "error[AM885]: the input `data` takes [2, 3, 8, 8], not [2, 3, 9, 8]"),
            ("data:2,3,8", "error[AM885]: the input `data` takes [2, 3, 8, 8], not [2, 3, 8]"),
        ],
    )
    def test_it_must_fit_the_graph(self, text: str, said: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert said in refusal(capsys, {"INPUT_SHAPE": text})

    def test_every_input_needs_one(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        graph = acl.Graph()
        assert graph.load_from_file("two_model.air") == acl.GRAPH_SUCCESS
        text = refusal(capsys, {"INPUT_SHAPE": "left:2,3,8,8"}, graph)
        assert "error[AM884]: INPUT_SHAPE lacks the input `right`" in text


class TestChoices:
    def test_there_are_34_chips(self) -> None:
        assert len(SOC_VERSIONS) == len(set(SOC_VERSIONS)) == 34
        assert {"Ascend310", "Ascend310P3", "Ascend910B2C", "Ascend910B4-1", "Ascend910_9391", "SD3403"} <= {
            *SOC_VERSIONS
        }

    @pytest.mark.parametrize("chip", SOC_VERSIONS)
    def test_each_chip_is_known(self, chip: str) -> None:
        assert settings({"SOC_VERSION": chip}).soc_version == chip

    @pytest.mark.parametrize("chip", ["Ascend310P", "ascend310", "Ascend910B5", "Atlas"])
    def test_no_other_is(self, chip: str) -> None:
        assert told({"SOC_VERSION": chip}) == [
            f"SOC_VERSION:1:1 AM882 `{chip}`, the value of `SOC_VERSION`, is not known"
        ]

    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "INFO"])
    def test_levels_are_known(self, level: str) -> None:
        assert settings({"LOG_LEVEL": level}).log_level == level.lower()
        assert log_level([("log", level)]) == level.lower()

    def test_a_wrong_level_is_refused_and_the_usual_one_taken_to_say_so(
        self, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert log_level([("LOG_LEVEL", "loud")]) == log_level([("LOG_LEVEL", 3)]) == log_level([]) == "info"
        assert "`loud`, the value of `LOG_LEVEL`, is not known" in refusal(capsys, {"LOG_LEVEL": "loud"})

    @pytest.mark.parametrize("layout", ["NCHW", "ND"])
    def test_a_layout_that_the_graph_has_is_taken(self, layout: str, desk: Path) -> None:
        assert calibrate({"INPUT_FORMAT": layout}) == acl.GRAPH_SUCCESS

    def test_another_layout_is_refused(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = refusal(capsys, {"INPUT_FORMAT": "NHWC"})
        assert "error[AM886]: INPUT_FORMAT is NHWC, but the input `data` of the graph is NCHW" in text
        assert told({"INPUT_FORMAT": "CHWN"}) == [
            "INPUT_FORMAT:1:1 AM882 `CHWN`, the value of `INPUT_FORMAT`, is not known"
        ]


class TestDevices:
    def test_what_chooses_a_device_is_noted(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert calibrate({"DEVICE_ID": "3", "infer_aicore_num": "8"}) == acl.GRAPH_SUCCESS
        shown = capsys.readouterr().err
        assert "INFO - [AMCT]:[aclgrphCalibration]: DEVICE_ID has no effect" in shown
        assert "INFO - [AMCT]:[aclgrphCalibration]: infer_aicore_num has no effect" in shown

    def test_what_names_a_server_is_warned_of(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert calibrate({"IP_ADDR": "192.168.1.2", "PORT": "8000", "GROUP_ID": "0"}) == acl.GRAPH_SUCCESS
        shown = capsys.readouterr().err
        for name in ("IP_ADDR", "PORT", "GROUP_ID"):
            assert f"warning[AM888]: `{name}` has no effect: no server is asked" in shown

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DEVICE_ID", "-1"),
            ("DEVICE_ID", "one"),
            ("DEVICE_ID", "9" * 11),
            ("infer_aicore_num", "0"),
            ("PORT", "0"),
            ("PORT", "65536"),
            ("GROUP_ID", "4"),
            ("IP_ADDR", "256.0.0.1"),
            ("IP_ADDR", "server"),
        ],
    )
    def test_wrong_ones_are_refused(self, name: str, value: str) -> None:
        (found,) = told({name: value})
        assert found.startswith(f"{name}:1:1 AM882 `{value}`, the value of `{name}`, is ")
