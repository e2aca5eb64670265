"""INSERT_OP_CONF: images of bytes, brought to the network's input by AIPP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.aipp.apply import apply_aipp
from amctc.aipp.config import NetworkInput
from amctc.aipp.read import read_aipp
from amctc.compat import acl
from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.ge.slots import note
from amctc.driver.ge.inputs import match_inputs
from amctc.driver.ge.settings import read_settings
from tests.compat.acl.desk import KEYS, calibrate, float_graph, refusal

RGB = "aipp_op { aipp_mode: static input_format: RGB888_U8 mean_chn_0: 100 var_reci_chn_0: 0.01 }"
CROPPED = """
aipp_op {
  aipp_mode: static
  input_format: YUV420SP_U8
  csc_switch: true
  src_image_size_w: 12
  src_image_size_h: 10
  crop: true
  load_start_pos_w: 2
  load_start_pos_h: 2
  crop_size_w: 8
  crop_size_h: 8
  var_reci_chn_0: 0.00392157
  var_reci_chn_1: 0.00392157
  var_reci_chn_2: 0.00392157
}
"""


def aipp(text: str) -> dict[str, str | None]:
    Path("aipp.cfg").write_text(text, encoding="utf-8")
    return {"INSERT_OP_CONF": "aipp.cfg"}


def pixels(size: int, count: int = 6) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, size), dtype=np.uint8)


@pytest.mark.parametrize(("text", "size"), [(RGB, 8 * 8 * 3), (CROPPED, 12 * 10 * 3 // 2)])
def test_calibrating_with_images_is_calibrating_with_what_aipp_makes_of_them(text: str, size: int, desk: Path) -> None:
    bytes_of_images = pixels(size)
    keys = aipp(text)
    bytes_of_images.tofile("data.bin")
    by_aipp, by_floats = float_graph(), float_graph()
    assert calibrate(keys, by_aipp) == acl.GRAPH_SUCCESS
    (config,) = read_aipp("aipp.cfg")
    apply_aipp(config, bytes_of_images, NetworkInput(3, 8, 8)).tofile("data.bin")
    assert calibrate({}, by_floats) == acl.GRAPH_SUCCESS
    assert by_aipp.net.nodes and [n.quant for n in by_aipp.net.nodes] == [n.quant for n in by_floats.net.nodes]
    by_aipp.save_to_file("a.air")
    by_floats.save_to_file("b.air")
    assert Path("a.air").read_bytes() == Path("b.air").read_bytes(), "no AIPP op stands in the graph"


def test_a_file_must_hold_whole_images(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = aipp(CROPPED)
    pixels(181, 1).tofile("data.bin")
    text = refusal(capsys, keys)
    assert "error[AM402]: `data.bin` has 181 bytes" in text and "uint8 (180,), takes 180" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RGB.replace("static", "dynamic"), "error[AM392]"),
        (RGB.replace("RGB888_U8", "RGB888"), "error[AM11"),
        (RGB.replace("mean_chn_0", "related_input_rank: 1 mean_chn_0"), "error[AM889]: the graph has no input 1"),
        (
            RGB.replace("mean_chn_0", 'related_input_name: "date" mean_chn_0'),
            "error[AM889]: the graph has no input `date`",
        ),
        (CROPPED.replace("crop_size_w: 8", "crop_size_w: 6"), "error[AM398]: AIPP makes pictures of 6 x 8 pixels"),
        (RGB.replace("RGB888_U8", "YUV400_U8"), "error[AM398]: the network's input has 3 channels, but AIPP makes 1"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    text: str, said: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, aipp(text))


def test_the_input_may_be_named(desk: Path) -> None:
    pixels(192).tofile("data.bin")
    assert calibrate(aipp(RGB.replace("mean_chn_0", 'related_input_name: "data" mean_chn_0'))) == acl.GRAPH_SUCCESS


def test_warnings_of_the_file_are_told(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels(192).tofile("data.bin")
    assert calibrate(aipp(RGB.replace("mean_chn_0", "matrix_r0c0: 5 mean_chn_0"))) == acl.GRAPH_SUCCESS
    assert "warning[AM399]" in capsys.readouterr().err


def test_half_data_and_images_exclude_each_other(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refusal(capsys, {**aipp(RGB), "INPUT_FP16_NODES": "data"})
    assert "error[AM889]: the input `data` takes images through AIPP" in text


def test_a_missing_file_is_told(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "error[AM100]" in refusal(capsys, {"INSERT_OP_CONF": "none.cfg"})


@pytest.mark.parametrize(
    ("input_format", "layout", "network"),
    [(None, "NCHW", (3, 8, 8)), ("NHWC", "ND", (8, 3, 8)), (None, "ND", (3, 8, 8)), ("NCHW", "ND", (3, 8, 8))],
)
def test_the_layout_of_images_is_the_graph_s_or_where_it_has_none_that_of_input_format(
    input_format: str | None, layout: str, network: tuple[int, int, int], desk: Path
) -> None:
    net = float_graph().net
    note(net.node("data"), op={"output_desc": ({"layout": layout},)})
    config = aipp(RGB.replace("RGB888_U8", "XRGB8888_U8"))
    keys = {**KEYS, **config, **({"INPUT_FORMAT": input_format} if input_format else {})}
    settings = read_settings(keys.items(), Collector())
    configs = read_aipp("aipp.cfg")
    if network[0] > 4:
        with pytest.raises(DiagnosticError, match="8 channels"):
            match_inputs(net, settings, configs, Collector())
        return
    (given,) = match_inputs(net, settings, configs, Collector())
    assert given.aipp is not None and given.aipp.network[:3] == network and given.stored == "uint8"
