"""Damage for valid texts and files: parts are cut out, repeated, exchanged or put in, or all behind them is cut off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

_T = TypeVar("_T")
_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
_LONGEST = 12
"""Tokens (or bytes) that one edit takes away or repeats, so that no input becomes large."""

NUMBERS = (
    *("-1", "0", "1", "2", "3", "255", "65536", "-0", "0.5", "-1.5", "1e-30", "1e38", "1e999", "nan", "inf", "-inf"),
    *(
        "2147483647",
        "2147483648",
        "4294967295",
        "9223372036854775807",
        "18446744073709551615",
        "9" * 400,
        "0x10",
        "010",
    ),
)
SIGNS = ("{", "}", "[", "]", "(", ")", "<", ">", ":", ";", ",", ".", "=", "#", "//", "-", "@", "*", "\\", "'", '"', "`")
ODD = ("\0", "\ufeff", "\u2028", "é", "𝄞", "\t", "\r", "\n", "\x1b[0m", "true", "false", "null", "None", "%s", "{}")

WORDS = (*NUMBERS, *SIGNS, *ODD)


@st.composite
def damaged_texts(draw: st.DrawFn, samples: Sequence[str], words: Sequence[str]) -> str:
    """One of the samples after one to four edits of its tokens; `words` are those of the language."""
    tokens: list[str] = _TOKENS.findall(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 4))):
        tokens = _edited(draw, tokens, draw(st.sampled_from((*words, *WORDS))))
    return "".join(tokens)


@st.composite
def damaged_bytes(draw: st.DrawFn, samples: Sequence[bytes]) -> bytes:
    """One of the samples after one to six edits of its bytes."""
    data = list(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 6))):
        data = _edited(draw, data, draw(st.sampled_from((0, 1, 127, 128, 255)) | st.integers(0, 255)))
    return bytes(data)


def _edited(draw: st.DrawFn, parts: list[_T], new: _T) -> list[_T]:
    """The parts after one edit."""
    if not parts:
        return [new]
    at = draw(st.integers(0, len(parts) - 1))
    end = at + draw(st.integers(1, _LONGEST))
    match draw(st.sampled_from(("replace", "insert", "delete", "repeat", "swap", "cut"))):
        case "replace":
            return [*parts[:at], new, *parts[at + 1 :]]
        case "insert":
            return [*parts[:at], new, *parts[at:]]
        case "delete":
            return parts[:at] + parts[end:]
        case "repeat":
            return parts[:end] + parts[at:]
        case "swap":
            other = draw(st.integers(0, len(parts) - 1))
            swapped = list(parts)
            swapped[at], swapped[other] = swapped[other], swapped[at]
            return swapped
        case _:
            return parts[:at]
