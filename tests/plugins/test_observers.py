"""Registered observers: they choose the scales, and are told of with owner and layer where they fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.pipeline.context import Calibration
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.quant.grid import scale_offset_from_range
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.registry import builtin_registry, current_registry
from amctc.source import SourceFile
from tests.nets import conv, data, layer, make_net
from tests.quantized import random_feeds


class WholeRange:
    """The grid of everything that was seen."""

    def __init__(self, settings: IfmrSettings, layer: str) -> None:
        self.settings = settings
        self.layer = layer
        self.low, self.high = 0.0, 0.0

    def update(self, array: NDArray[np.float32], /) -> None:
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))

    def finish(self) -> IfmrResult:
        bits = self.settings.bits
        grid = scale_offset_from_range(self.low, self.high, bits, self.settings.with_offset)
        ends = (self.low, self.high, self.low, self.high)
        return IfmrResult(np.float32(grid.scale), int(grid.offset), bits, *ends, 0, 0.0, True)


NET = data() + conv("a", "data", 4, kernel=1) + layer("joined", "Concat", "a data", "joined") + conv("b", "joined", 2)
OBSERVING = "annotate-quant,quantize-weights,observe{{observer={}}},calibrate,quantize-bias,insert-quant"


def calibrated(folder: Path, observer: str, policy: str = "") -> tuple[Graph, Mapping[str, NDArray[np.float32]]]:
    graph = make_net(folder, NET)
    feeds = random_feeds(graph, 0)
    resolved = resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
    context = amctc.Context(resolved, Calibration(lambda: iter(feeds), 1))
    parse_pipeline(SourceFile("pipeline", OBSERVING.format(observer)), current_registry()).run(graph, context)
    return graph, feeds[0]


def test_a_registered_observer_chooses_the_scales(tmp_path: Path) -> None:
    with amctc.register_observer("whole", WholeRange):
        graph, feeds = calibrated(tmp_path, "whole")
    original = make_net(tmp_path, NET)
    for name, blob in (("a", "data"), ("b", "joined")):
        seen = amctc.run(original, feeds, [blob])[blob]
        wanted = scale_offset_from_range(float(seen.min()), float(seen.max()), 8, True)
        quant = graph.node(name).quant
        assert quant is not None
        assert (quant.inputs[0].scale, quant.inputs[0].offset) == (float(wanted.scale), int(wanted.offset))


def test_an_unknown_observer_is_refused_at_its_place() -> None:
    text = OBSERVING.format("ifrm")
    with pytest.raises(DiagnosticError) as caught:
        parse_pipeline(SourceFile("--pipeline", text), builtin_registry())
    (found,) = caught.value.diagnostics
    assert (found.code, found.help) == ("AM524", "did you mean `ifmr`?")
    assert found.span is not None and found.span.text == "ifrm"


def test_a_registered_observer_is_asked_in_place_of_the_algorithm_of_the_policy(tmp_path: Path) -> None:
    asked: list[IfmrSettings] = []

    def whole(settings: IfmrSettings, layer: str) -> WholeRange:
        asked.append(settings)
        return WholeRange(settings, layer)

    with amctc.register_observer("whole", whole):
        calibrated(tmp_path, "whole", "common_config { hfmg_quantize { dst_type: INT16 asymmetric: false } }")
    assert asked == [IfmrSettings(16, False)] * 3


def test_the_names_of_the_built_in_observers_are_taken() -> None:
    for name in ("ifmr", "hfmg"):
        with pytest.raises(DiagnosticError, match="AM520"):
            amctc.register_observer(name, WholeRange)


class Failing(WholeRange):
    def update(self, array: NDArray[np.float32], /) -> None:
        raise KeyError("nothing")


class Vague(WholeRange):
    def finish(self) -> Any:
        return 0.5


class Narrow(WholeRange):
    def finish(self) -> IfmrResult:
        return WholeRange(IfmrSettings(bits=9), "").finish()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (Failing, "KeyError: 'nothing'"),
        (Vague, "TypeError: `finish` gives float and no IfmrResult"),
        (Narrow, "ValueError: `finish` gives 9 bits where 8 are asked for"),
        (lambda settings, layer: 3, "TypeError: its factory gives int, which has no `update` and `finish`"),
    ],
)
def test_an_observer_that_fails_is_told_with_owner_and_layer(tmp_path: Path, factory: Any, words: str) -> None:
    with amctc.register_observer("broken", factory), pytest.raises(DiagnosticError) as caught:
        calibrated(tmp_path, "broken")
    found = caught.value.diagnostics[0]
    assert found.code == "AM525"
    assert found.message.startswith(f"the observer `broken` of {__name__} failed at layer `")
    assert words in found.message
