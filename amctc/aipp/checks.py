"""What one `aipp_op` may say: GE's own checks, those of its AIPP kernel, and what can be computed without a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final, get_args

from amctc.aipp.config import FLOAT16_MAX, LARGEST_SIDE, InputFormat
from amctc.aipp.fields import (
    CROP,
    FACTOR,
    INPUT_BIAS,
    LISTS,
    MATRIX,
    MEAN,
    MINIMUM,
    OUTPUT_BIAS,
    PADDING,
    RESIZE,
    SOURCE,
    Op,
)
from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.text.checked import CheckedField

INPUT_FORMATS: Final[tuple[str, ...]] = get_args(InputFormat)

_BYTE: Final = (0, 255)
_HALF: Final = (-FLOAT16_MAX, FLOAT16_MAX)
_SIDE: Final = (0, LARGEST_SIDE)

RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    dict.fromkeys(chain(*MATRIX), (-(1 << 15), (1 << 15) - 1))
    | dict.fromkeys((*INPUT_BIAS, *OUTPUT_BIAS, *MEAN, *MINIMUM), _BYTE)
    | dict.fromkeys((*FACTOR, "cpadding_value", "padding_value"), _HALF)
    | dict.fromkeys(SOURCE, _SIDE)
    | dict.fromkeys(CROP[:2], (0, LARGEST_SIDE - 1))
    | dict.fromkeys((*CROP[2:], *RESIZE), _SIDE)
    | dict.fromkeys(PADDING, (0, 32))
    | {"raw_rgbir_to_f16_n": (0, 31)}
)
"""The least and the greatest value of every number that has such."""


def check_op(op: Op, findings: Collector, *, complete: bool) -> None:
    """Tell everything that is wrong with one operator.

    AM390 to AM396. With `complete` false, fields were left out because they did not fit the schema, so that
    what is missing, and what depends on several of them, is not told.
    """
    findings.extend(_repeated(op))
    mode = op.word("aipp_mode")
    if mode == "dynamic":
        message = "dynamic AIPP gets its parameters with every image at run time, so there are none to compute with"
        findings.add(
            Diagnostic(
                "AM392",
                message,
                span=op.place("aipp_mode"),
                help="write `aipp_mode: static`, and the parameters of the calibration images",
            )
        )
        return
    if mode != "static" and (complete or mode is not None):
        message = "an `aipp_op` needs an `aipp_mode`"
        findings.add(Diagnostic("AM391", message, span=op.place("aipp_mode"), help="write `aipp_mode: static`"))
    findings.extend(_format(op, complete))
    findings.extend(_not_here(op))
    wrong = list(_out_of_range(op))
    findings.extend(wrong)
    if complete and not wrong:
        findings.extend(_sizes(op))


def _repeated(op: Op) -> Iterator[Diagnostic]:
    first: dict[str, CheckedField] = {}
    told: set[str] = set()
    for entry in op.message.fields:
        before = first.setdefault(entry.name, entry)
        if before is entry or entry.name in told or entry.name in LISTS:
            continue
        told.add(entry.name)
        yield Diagnostic(
            "AM390",
            f"`{entry.name}` is written twice, but takes one value",
            span=entry.span,
            related=(Label(before.span, "the first one"),),
            help="take one of them out",
        )


def _format(op: Op, complete: bool) -> Iterator[Diagnostic]:
    name = op.word("input_format")
    known = ", ".join(f"`{known}`" for known in INPUT_FORMATS)
    if name in INPUT_FORMATS or (name is None and not complete):
        return
    if name in (None, "UNDEFINED"):
        message = "a static AIPP needs an `input_format`"
        yield Diagnostic("AM391", message, span=op.place("input_format"), help=f"one of {known}")
        return
    message = f"images of the format `{name}` are not supported"
    yield Diagnostic("AM393", message, span=op.place("input_format"), help=f"GE documents {known}")


def _not_here(op: Op) -> Iterator[Diagnostic]:
    """AM394 for what is switched on and cannot be computed."""
    if op.flag("resize"):
        message = "`resize` is not supported: GE reserves it, and how it interpolates is not published"
        help = "resize the images before, and give `src_image_size_w` and `src_image_size_h` as they are then"
        yield Diagnostic("AM394", message, span=op.place("resize"), help=help)
    if op.flag("single_line_mode"):
        message = "`single_line_mode` is not supported: GE reserves it"
        yield Diagnostic("AM394", message, span=op.place("single_line_mode"), help="take it out")
    if op.flag("csc_switch") and op.word("input_format") == "YUV400_U8":
        message = "images of the format `YUV400_U8` have no colours to convert"
        help = "write `csc_switch: false`"
        yield Diagnostic("AM394", message, span=op.place("csc_switch"), help=help)


def _out_of_range(op: Op) -> Iterator[Diagnostic]:
    for name, (low, high) in RANGES.items():
        value = op.number(name)
        if not low <= value <= high:  # also true of nan
            yield Diagnostic("AM395", f"`{name}` is {value:.10g}, but must be {low:g} to {high:g}", span=op.place(name))
    if op.integer("src_image_size_w") == 1:
        message = f"`src_image_size_w` is 1, but must be 2 to {LARGEST_SIDE}, or 0 for the width of the network's input"
        yield Diagnostic("AM395", message, span=op.place("src_image_size_w"))


def _sizes(op: Op) -> Iterator[Diagnostic]:
    """AM396 for sizes that do not go together, as far as the network need not be known."""
    crop, padding = op.flag("crop"), op.flag("padding")
    if op.word("input_format") == "YUV420SP_U8":
        for name in (*SOURCE, *(CROP if crop else ())):
            if op.integer(name) % 2:
                message = f"`{name}` is {op.integer(name)}, but must be even for `YUV420SP_U8`"
                label = "four pixels share a colour"
                yield Diagnostic("AM396", message, span=op.place(name), label=label)
    for axis, (start, size) in zip("wh", ((CROP[0], CROP[2]), (CROP[1], CROP[3])), strict=True):
        source = op.integer(f"src_image_size_{axis}")
        if source == 0:
            if crop or padding:
                switch = "crop" if crop else "padding"
                message = f"with `{switch}`, `src_image_size_{axis}` must be given"
                yield Diagnostic("AM396", message, span=op.place(switch), help="write the size of the images")
            continue
        kept = source
        if crop:
            kept = op.integer(size)
            if kept == 0 and padding:
                message = f"with `padding`, `{size}` must be given"
                yield Diagnostic("AM396", message, span=op.place("padding"), help="write what to keep of the images")
                continue
            yield from _beyond(op, start, size, source)
        if padding and axis == "w":
            yield from _too_wide(op, kept)


def _beyond(op: Op, start: str, size: str, source: int) -> Iterator[Diagnostic]:
    begin, kept = op.integer(start), op.integer(size)
    if begin + max(kept, 1) > source:
        what = f"`{start}` + `{size}` is {begin + kept}" if kept else f"`{start}` is {begin}"
        message = f"{what}, which is beyond the image's {source} pixels"
        yield Diagnostic("AM396", message, span=op.place(size if kept else start))


def _too_wide(op: Op, kept: int) -> Iterator[Diagnostic]:
    made = kept + op.integer("left_padding_size") + op.integer("right_padding_size")
    if made > LARGEST_SIDE:
        message = f"the picture is {made} pixels wide after padding, more than {LARGEST_SIDE}"
        yield Diagnostic("AM396", message, span=op.place("padding"))
