"""The log, read as Caffe's own parsers read it, and the picture of the losses."""

from __future__ import annotations

import re
from datetime import datetime
from xml.etree import ElementTree

import numpy as np
import pytest

from amctc.diagnostics import Diagnostic
from amctc.training.log import Score, TrainingLog, number, progress_text
from amctc.training.loss_curve import LossCurve, Series
from amctc.training.smoothed_loss import SmoothedLoss

MOMENT = datetime(2017, 2, 3, 4, 5, 6, 70)


def lines_of(log_something: str) -> list[str]:
    lines: list[str] = []
    log = TrainingLog(lines.append, lambda: MOMENT)
    log.info(log_something)
    return lines


def test_a_line_begins_as_glog_writes_it() -> None:
    (line,) = lines_of("Solving net")
    assert re.fullmatch(r"I0203 04:05:06\.000070 +\d+ solver\.cpp:1\] Solving net", line)
    month, day = line.split()[0][1:3], line.split()[0][3:]
    assert (month, day, line.split()[1]) == ("02", "03", "04:05:06.000070")


def test_a_text_of_several_lines_stays_one_line() -> None:
    assert lines_of("a\nb")[0].endswith("] a b")


def test_a_warning_has_its_letter_and_code() -> None:
    lines: list[str] = []
    TrainingLog(lines.append, lambda: MOMENT).warn(Diagnostic("AM322", "something is odd", file="net.prototxt"))
    assert lines[0].startswith("W0203") and lines[0].endswith("] something is odd (net.prototxt) [AM322]")


def test_the_numbers_of_an_output_are_told_one_by_one() -> None:
    lines: list[str] = []
    scores = [Score("accuracy", 0.25), Score("loss", 1.23456789, 2.0)]
    TrainingLog(lines.append, lambda: MOMENT).scores("Test", scores)
    assert [line.partition("] ")[2] for line in lines] == [
        "    Test net output #0: accuracy = 0.25",
        "    Test net output #1: loss = 1.23457 (* 2 = 2.46914 loss)",
    ]
    found = [re.search(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)", line) for line in lines]
    assert [match.groups() if match else None for match in found] == [
        ("0", "accuracy", "0.25"),
        ("1", "loss", "1.23457"),
    ]


def test_the_line_of_an_iteration_is_that_of_caffe() -> None:
    text = progress_text(100, 100, 4.0, 100, 0.0123456789)
    assert text == "Iteration 100 (25 iter/s, 4s/100 iters), loss = 0.0123457"
    assert progress_text(0, 0, 0.0, 20, float("nan")) == "Iteration 0 (0 iter/s, 0s/20 iters), loss = nan"


@pytest.mark.parametrize(("value", "text"), [(1e-8, "1e-08"), (123456789.0, "1.23457e+08"), (0.05, "0.05"), (2.0, "2")])
def test_numbers_are_printed_as_cpp_prints_them(value: float, text: str) -> None:
    assert number(value) == text


def test_the_smoothed_loss_is_the_mean_of_the_last_ones() -> None:
    smoothed = SmoothedLoss(3)
    found = [float(smoothed.add(loss, since)) for since, loss in enumerate([3.0, 5.0, 1.0, 9.0, 2.0])]
    assert found == pytest.approx([3, 4, 3, 5, 4], rel=1e-6)
    assert np.isnan(smoothed.add(float("nan"), 5))


def drawn(curve: LossCurve) -> ElementTree.Element:
    return ElementTree.fromstring(curve.svg())


def test_the_picture_has_a_line_for_the_training_and_for_each_test_loss() -> None:
    curve = LossCurve("net <1> & more\x07")
    for iteration in range(50):
        curve.trained(iteration, 2.0 / (iteration + 1))
    curve.tested(0, 0, [Score("accuracy", 0.1), Score("loss", 2.0, 1.0)])
    curve.tested(25, 0, [Score("accuracy", 0.5), Score("loss", 1.0, 1.0)])
    picture = drawn(curve)
    lines = picture.findall("{*}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [50, 2]
    assert next(text.text for text in picture.findall("{*}text")) == "net <1> & more"
    assert "test net #0: loss" in [text.text for text in picture.findall("{*}text")]
    assert curve.svg() == curve.svg()


def test_a_picture_of_nothing_and_of_what_is_not_finite_can_be_drawn() -> None:
    assert drawn(LossCurve("empty")).findall("{*}polyline")
    curve = LossCurve("nan")
    curve.trained(0, float("nan"))
    curve.trained(1, 1.0)
    assert drawn(curve).findall("{*}polyline")[0].attrib["points"].count(",") == 1


def test_a_long_training_is_drawn_with_few_points() -> None:
    series = Series()
    for iteration in range(100_000):
        series.add(iteration, float(iteration))
    assert 500 < len(series.points) < 2100
    assert sum(value for _, value in series.points) / len(series.points) == pytest.approx(50_000, rel=0.01)
    assert [x for x, _ in series.points] == sorted(x for x, _ in series.points)
