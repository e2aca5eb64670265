"""What is written in an `aipp_op` and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from amctc.aipp.color import default_csc
from amctc.aipp.config import MOST_CHANNELS, InputFormat
from amctc.aipp.fields import CROP, FACTOR, INPUT_BIAS, MATRIX, MEAN, MINIMUM, OUTPUT_BIAS, PADDING, RESIZE, Op
from amctc.diagnostics import Diagnostic, Level

_CHANNELS: Final[dict[str | None, int]] = {"YUV420SP_U8": 3, "RGB888_U8": 3, "XRGB8888_U8": 4, "YUV400_U8": 1}


def effectless(op: Op) -> Iterator[Diagnostic]:
    """AM399, a warning, for every group of settings without an effect; those at their defaults are passed over."""
    name = op.word("input_format")
    for switch, fields in (("crop", CROP), ("resize", RESIZE), ("padding", (*PADDING, "padding_value"))):
        if not op.flag(switch):
            yield from _told(op, fields, f"because `{switch}` is not switched on")
    yield from _conversion(op)
    if name == "YUV400_U8":
        yield from _told(op, ("rbuv_swap_switch",), "because the images have one channel")
    if name != "XRGB8888_U8":
        yield from _told(op, ("ax_swap_switch",), "because the images have no fourth channel")
    channels = 3 if op.flag("csc_switch") else _CHANNELS[name]
    beyond = [names[channel] for channel in range(channels, MOST_CHANNELS) for names in (MEAN, MINIMUM, FACTOR)]
    yield from _told(op, beyond, f"because there {'is 1 channel' if channels == 1 else f'are {channels} channels'}")
    yield from _told(op, ("max_src_image_size", "support_rotation"), "in static AIPP")
    yield from _told(op, ("raw_rgbir_to_f16_n",), f"on images of the format `{name}`")
    yield from _told(op, ("cpadding_value",), "because GE reserves it")
    yield from _told(op, ("input_edge_idx",), "because all that read an input read the same of it")
    if op.word("related_input_name"):
        yield from _told(op, ("related_input_rank",), "because `related_input_name` goes before it")


def _conversion(op: Op) -> Iterator[Diagnostic]:
    if not op.flag("csc_switch"):
        yield from _told(op, (*chain(*MATRIX), *INPUT_BIAS, *OUTPUT_BIAS), "because `csc_switch` is not switched on")
    elif op.word("input_format") == "YUV420SP_U8":
        yield from _told(op, OUTPUT_BIAS, "in a conversion from YUV")
    else:
        yield from _told(op, INPUT_BIAS, "in a conversion from RGB")


def _told(op: Op, fields: Sequence[str], why: str) -> Iterator[Diagnostic]:
    found = [name for name in fields if op.written(name) is not None and not _is_default(op, name)]
    if not found:
        return
    what = f"`{found[0]}`" if len(found) == 1 else f"`{found[0]}` and {len(found) - 1} more"
    verb = "has" if len(found) == 1 else "have"
    notes = () if len(found) == 1 else ("the same holds for " + ", ".join(f"`{name}`" for name in found[1:]),)
    yield Diagnostic("AM399", f"{what} {verb} no effect {why}", Level.WARNING, op.place(found[0]), notes=notes)


def _is_default(op: Op, name: str) -> bool:
    """Whether a field says what holds anyway: the manual's template writes everything out."""
    if name == "input_edge_idx":
        return False
    if name.startswith("matrix_"):
        return any(op.integer(name) == _of_matrix(name, known) for known in ("YUV420SP_U8", "RGB888_U8"))
    if name in INPUT_BIAS or name in OUTPUT_BIAS:
        return op.integer(name) == default_csc("RGB888_U8").input_bias[int(name[-1])]
    if name in FACTOR:
        return op.number(name) == 1
    if name == "raw_rgbir_to_f16_n":
        return op.integer(name) in (0, 8)
    return not (op.flag(name) or op.number(name))


def _of_matrix(name: str, input_format: InputFormat) -> int:
    row, column = int(name[-3]), int(name[-1])
    return default_csc(input_format).matrix[row][column]
