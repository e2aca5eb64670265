"""Reads damaged AIPP files in a process of its own, with a limit on time.

`python -m tests.fuzz.mutate_aipp START COUNT` makes the cases START to START + COUNT - 1 (a case depends on its
number alone), and prints a JSON summary. A case may end in images that went through what the file says, in operators
that fit no small network, or in diagnostics, which are rendered; anything else, or 2 seconds of processor time, is
a failure.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import time
import traceback
import warnings
from random import Random
from types import FrameType
from typing import Final

import numpy as np

from amctc.aipp.apply import apply_aipp
from amctc.aipp.checks import INPUT_FORMATS, RANGES
from amctc.aipp.color import preset_name
from amctc.aipp.config import AippConfig, NetworkInput
from amctc.aipp.fields import SOURCE
from amctc.aipp.image import source_shape
from amctc.aipp.read import parse_aipp
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, render, to_json
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.fuzz.mutate_policies import damaged_text, random_message
from tests.fuzz.mutations import NUMBERS, WORDS

SECONDS = 2

_HANGS = 60
"""Seconds of the clock after which the process gives up and tells where it hangs."""
_LARGEST: Final = 1 << 16
"""Bytes of an image that is still made."""

SAMPLES: Final = (
    "aipp_op { aipp_mode: static input_format: RGB888_U8 }",
    """aipp_op {
  aipp_mode: static
  input_format: YUV420SP_U8
  src_image_size_w: 32
  src_image_size_h: 24
  crop: true
  load_start_pos_w: 4
  load_start_pos_h: 2
  crop_size_w: 16
  crop_size_h: 16
  csc_switch: true
  rbuv_swap_switch: true
  matrix_r0c0: 256
  matrix_r0c1: 0
  matrix_r0c2: 359
  input_bias_0: 0
  var_reci_chn_0: 0.00392157
  min_chn_0: 0.5
}
""",
    """aipp_op {
  aipp_mode: static
  related_input_rank: 1
  input_format: XRGB8888_U8
  ax_swap_switch: true
  src_image_size_w: 8
  src_image_size_h: 8
  padding: true
  left_padding_size: 1
  bottom_padding_size: 32
  padding_value: -1.5
  mean_chn_0: 104
  mean_chn_3: 255
}
aipp_op { aipp_mode: static input_format: YUV400_U8 var_reci_chn_0: [65504] }
""",
    "aipp_op { aipp_mode: dynamic max_src_image_size: 752640 }",
)


class TooLong(Exception):
    """A case took more than its time."""


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGVTALRM, _stop)
    warnings.simplefilter("error")
    parse_aipp(SourceFile("sample", SAMPLES[0]))  # what is built once is not part of a case
    ends = {"images": 0, "operators": 0, "diagnostic": 0}
    codes: set[str] = set()
    failures: list[dict[str, object]] = []
    slowest = (0.0, -1)
    for number in range(start, start + count):
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        source = make_case(Random(number))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            end, found = _end_of(source)
            ends[end] += 1
            codes |= {diagnostic.code for diagnostic in found}
        except Exception as problem:
            where = traceback.format_exc().strip().splitlines()[-8:]
            failures.append({"case": number, "problem": repr(problem)[:300], "where": where})
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        spent = time.process_time() - began
        slowest = max(slowest, (round(spent, 2), number))
        if spent > SECONDS:
            failures.append({"case": number, "problem": f"{spent:.1f} s", "where": []})
    summary = {"cases": count, "ends": ends, "failures": failures, "codes": sorted(codes)}
    print(json.dumps(summary | {"slowest (s, case)": slowest}))


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _end_of(source: SourceFile) -> tuple[str, tuple[Diagnostic, ...]]:
    collector = Collector()
    try:
        configs = parse_aipp(source, collector)
    except DiagnosticError as refusal:
        for diagnostic in refusal.diagnostics:
            _tell(diagnostic)
        return "diagnostic", refusal.diagnostics
    if not configs:
        raise ValueError("neither an operator nor a diagnostic")
    for diagnostic in collector.diagnostics:
        _tell(diagnostic)
    made = [_makes_images(config, collector) for config in configs]
    return ("images" if all(made) else "operators"), tuple(collector.diagnostics)


def _tell(diagnostic: Diagnostic) -> None:
    if not diagnostic.message or not diagnostic.code.startswith("AM"):
        raise ValueError("a diagnostic that says nothing")
    render(diagnostic)
    json.dumps(to_json(diagnostic))


def _makes_images(config: AippConfig, collector: Collector) -> bool:
    """Whether a small image goes through a config, in front of a network that fits its sizes or does not."""
    preset_name(config)
    width, height = config.source_width or 6, config.source_height or 4
    if config.crop is not None:
        width, height = config.crop.width or 2, config.crop.height or 2
    if config.padding is not None:
        width += config.padding.left + config.padding.right
        height += config.padding.top + config.padding.bottom
    network = NetworkInput(1, height, width, "NHWC")
    try:
        source_shape(config, network._replace(channels=5))
        raise ValueError("more channels than there are")
    except DiagnosticError as refusal:
        _tell(refusal.diagnostics[0])
        collector.extend(refusal.diagnostics)
    try:
        shape = source_shape(config, network)
        if shape.bytes > _LARGEST:
            return False
        made = apply_aipp(config, np.full((1, shape.bytes), 200, np.uint8), network)
    except DiagnosticError as refusal:
        _tell(refusal.diagnostics[0])
        collector.extend(refusal.diagnostics)
        return False
    if made.shape != (1, height, width, 1) or not np.isfinite(made).all():
        raise ValueError("what was made is no input of the network")
    return True


def make_case(rng: Random) -> SourceFile:
    """The text of one case."""
    descriptor = load_schema("aipp.proto").descriptor("domi.InsertNewOps")
    names = (*load_schema("aipp.proto").descriptor("domi.AippOpParams").fields_by_name, *descriptor.fields_by_name)
    match rng.randrange(5):
        case 0:
            text = random_message(rng, descriptor, 0)
        case 1 | 2:
            text = "".join(_likely_op(rng, rank) for rank in range(rng.choice((1, 1, 2))))
            if rng.random() < 0.2:
                text = damaged_text(rng, text, (*names, *WORDS))
        case _:
            text = damaged_text(rng, rng.choice(SAMPLES), (*names, *WORDS))
    return SourceFile("aipp.cfg", text)


def _likely_op(rng: Random, rank: int) -> str:
    """An operator whose values are mostly within their ranges, and go together now and then."""
    lines = ["aipp_mode: static", f"input_format: {rng.choice(INPUT_FORMATS)}", f"related_input_rank: {rank}"]
    if rng.random() < 0.7:
        lines += [f"{name}: {rng.choice((8, 16, 32, 4096))}" for name in SOURCE]
    for switch in ("crop", "padding", "csc_switch", "rbuv_swap_switch", "ax_swap_switch", "support_rotation"):
        if rng.random() < 0.3:
            lines.append(f"{switch}: {rng.choice(('true', 'true', 'false'))}")
    for name in rng.sample(sorted(RANGES.keys() - set(SOURCE)), rng.randrange(6)):
        low, high = RANGES[name]
        usual = (0, 0, 1, 2, 4, 8, int(low), int(high))
        lines.append(f"{name}: {rng.choice(usual) if rng.random() < 0.95 else rng.choice(NUMBERS)}")
    rng.shuffle(lines)
    return "aipp_op {\n  " + "\n  ".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
