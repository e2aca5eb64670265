"""Numbers and strings of the protobuf text format and schema language: text to value and back."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache

from lark import Token

from amctc.diagnostics import error
from amctc.source import SourceFile
from amctc.text.syntax import token_span, token_start

MAX_NUMBER_LENGTH = 400

_SPECIAL_FLOATS = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {
    "a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v",
    "\\": b"\\", "'": b"'", '"': b'"', "?": b"?",
}  # fmt: skip
_UNREADABLE_ASCII = (*range(0x20), 0x7F)
_ESCAPED = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: '\\"', 0x5C: "\\\\"}
_ESCAPED_ASCII = {byte: f"\\{byte:03o}" for byte in _UNREADABLE_ASCII} | _ESCAPED
_ESCAPED_BYTES = {byte: f"\\{byte:03o}" for byte in (*_UNREADABLE_ASCII, *range(0x80, 0x100))} | _ESCAPED


def special_float(word: str) -> float | None:
    """The value of `inf`, `infinity` or `nan` in any case; None for another word."""
    return _SPECIAL_FLOATS.get(word.lower()) if len(word) <= 8 else None


def parse_number(source: SourceFile, token: Token, negative: bool) -> int | float:
    """A decimal, hexadecimal or octal integer, or a float with or without a final `f`.

    Raises `DiagnosticError` AM104 for a number that is too long, too large or not octal.
    """
    text = str(token).lower()
    span = token_span(source, token)
    if len(text) > MAX_NUMBER_LENGTH:
        raise error("AM104", f"a number may have at most {MAX_NUMBER_LENGTH} characters", span)
    if text.startswith("0x"):
        return -int(text, 16) if negative else int(text, 16)
    if text.isdigit():
        base = 8 if len(text) > 1 and text[0] == "0" else 10
        try:
            number = int(text, base)
        except ValueError:
            help = f"write `{text.lstrip('0')}` for a decimal number"
            raise error(
                "AM104",
                f"`{text}` begins with 0, so it is octal, but 8 and 9 are not octal digits",
                span,
                help=help,
            ) from None
        return -number if negative else number
    value = float(text.rstrip("f"))
    if math.isinf(value):
        raise error("AM104", f"`{text}` is too large for a floating-point number", span)
    return -value if negative else value


def decode_strings(source: SourceFile, tokens: Sequence[Token]) -> bytes:
    """The bytes of neighbouring string literals, joined; text outside escapes is UTF-8.

    Raises `DiagnosticError` AM104 at the escape that is wrong.
    """
    return b"".join(_decode_string(source, token) for token in tokens)


def _decode_string(source: SourceFile, token: Token) -> bytes:
    body = str(token)[1:-1]
    if "\\" not in body:
        return _utf8(source, body, token_start(token) + 1)
    parts: list[bytes] = []
    done = 0
    high: tuple[int, int] | None = None  # a first surrogate, and where its escape ended
    for match in _ESCAPE.finditer(body):
        start = token_start(token) + 1 + match.start()
        if match.start() > done:
            parts.append(_utf8(source, body[done : match.start()], token_start(token) + 1 + done))
        done = match.end()
        code = match[3] or match[4]
        if code is None:
            parts.append(_byte_escape(source, match, start))
            continue
        point = int(code, 16)
        if 0xD800 <= point < 0xDC00 and body.startswith("\\u", done):
            high = (point, done)
            continue
        if high is not None and high[1] == match.start() and 0xDC00 <= point < 0xE000:
            point = 0x10000 + ((high[0] - 0xD800) << 10) + (point - 0xDC00)
            high = None
        if point > 0x10FFFF or 0xD800 <= point < 0xE000 or high is not None:
            raise error("AM104", f"`{match[0]}` is not a character", source.span(start, start + len(match[0])))
        parts.append(chr(point).encode())
    parts.append(_utf8(source, body[done:], token_start(token) + 1 + done))
    return b"".join(parts)


def _byte_escape(source: SourceFile, match: re.Match[str], start: int) -> bytes:
    octal, hexadecimal, simple = match[1], match[2], match[5]
    if octal is not None and int(octal, 8) < 256:
        return bytes([int(octal, 8)])
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if simple in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[simple]
    raise error(
        "AM104",
        f"`{match[0]}` is not an escape sequence",
        source.span(start, start + len(match[0])),
        help="write `\\\\` for a backslash",
    )


def _utf8(source: SourceFile, text: str, start: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as problem:
        at = start + problem.start
        raise error("AM104", "half a surrogate pair is not a character", source.span(at, at + 1)) from None


def quote(data: bytes) -> str:
    """A string literal in double quotes; readable UTF-8 stays as it is, other bytes become octal escapes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return '"' + data.decode("latin-1").translate(_ESCAPED_BYTES) + '"'
    if text.isascii() or all(char.isprintable() or char.isascii() for char in text):
        return '"' + text.translate(_ESCAPED_ASCII) + '"'
    return '"' + data.decode("latin-1").translate(_ESCAPED_BYTES) + '"'


def float_text(value: float) -> str:
    """The shortest text that gives the same double back: `0.1`, `1e-10`, `inf`, `-inf`, `nan`."""
    return repr(float(value))


def float32_text(value: float) -> str:
    """A short text that gives the same float32 back: six to nine significant digits, as few as do.

    Raises OverflowError where the value is beyond the range of float32.
    """
    if not math.isfinite(value):
        return repr(value)
    wanted = struct.pack("<f", value)
    for digits in (6, 7, 8):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == wanted:
                return text
        except OverflowError:  # rounding up the largest float32 leaves its range
            continue
    return f"{value:.9g}"


def as_float32(value: float) -> float:
    """The double with the shortest text among those that round to the same float32 as `value`.

    So a `float` field reads as written: 0.999999, not 0.9999989867210388. Raises OverflowError
    where the value is beyond the range of float32.
    """
    if value == 0 or not math.isfinite(value):
        return value  # zero keeps its sign, which a remembered one would not
    return _as_float32(value)


# A file has few different numbers, each many times.
@lru_cache(maxsize=1024)
def _as_float32(value: float) -> float:
    (nearest,) = struct.unpack("<f", struct.pack("<f", value))
    return float(float32_text(nearest))
