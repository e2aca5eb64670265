"""A shortcut for text dumps as GE and amctc write them, straight from the text to the message.

A dump of ten thousand ops has a million lines, for which a tree with the place of every value would take gigabytes.
Whatever is unusual or wrong is left to `amctc.text.prototext`, which tells more, and tests hold the two to the same
messages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.text.literals import as_float32
from amctc.text.syntax import MAX_DEPTH

_BLANK = r"(?:[ \t\r\n]++|[#][^\n]*+)*+"
_STEP = re.compile(
    rf"""
    {_BLANK}
    (?:
      (?P<name>[A-Za-z_][A-Za-z0-9_]*+) {_BLANK}
      (?:
        :? {_BLANK} (?P<open>{{)
        | : {_BLANK}
          (?:
            (?P<int>-?(?:0|[1-9][0-9]{{0,30}}))(?![A-Za-z0-9_.])
            | (?P<float>-?(?:[0-9]{{1,40}}(?:\.[0-9]{{0,40}})?(?:[eE][+-]?[0-9]{{1,5}})?|inf|nan))(?![A-Za-z0-9_.])
            | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
            | "(?P<string>[^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"(?!{_BLANK}["'])
          )
      )
      | (?P<close>}})
    )
    """,
    re.VERBOSE | re.ASCII,
)
_REST = re.compile(_BLANK)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{2})|(.))")
_SIMPLE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"'": b"'", b"\\": b"\\"}
_BYTES = [bytes([value]) for value in range(256)]
_TRUTH = {"true": True, "false": False}


class _Unusual(Exception):
    """What is left to the other reader."""


@dataclass
class _Open:
    """A message that is being read; that of a map's entry is `message` once its key is known."""

    descriptor: Descriptor
    message: Any
    entries: Any = None
    key: Any = None
    known: Mapping[str, FieldDescriptor] = field(init=False)

    def __post_init__(self) -> None:
        self.known = self.descriptor.fields_by_name


def scan_text(text: str, message: Any) -> int | None:
    """Fill an empty message; the offset from which on the text is unusual, None where none of it is."""
    stack = [_Open(message.DESCRIPTOR, message)]
    match = _STEP.match
    at = 0
    try:
        while (step := match(text, at)) is not None:
            top = stack[-1]
            match step.lastgroup:
                case "close":
                    _close(stack)
                case "open":
                    if len(stack) > MAX_DEPTH:
                        return _behind_blanks(text, at)
                    stack.append(_open(top, step["name"]))
                case kind:
                    _put(top, step["name"], str(kind), step[str(kind)])
            at = step.end()
    except (_Unusual, LookupError, OverflowError, TypeError, ValueError):
        return _behind_blanks(text, at)
    at = _behind_blanks(text, at)
    return None if len(stack) == 1 and at == len(text) else at


def _behind_blanks(text: str, at: int) -> int:
    found = _REST.match(text, at)
    return at if found is None else found.end()


def _open(top: _Open, name: str) -> _Open:
    found = top.known.get(name)
    inner = None if found is None else found.message_type
    if found is None or inner is None:
        raise _Unusual
    if inner.GetOptions().map_entry:
        return _Open(inner, None, getattr(top.message, name))
    if top.entries is not None:
        if top.key is None or top.message is not None:
            raise _Unusual
        top.message = top.entries[top.key]
        top.message.Clear()
        return _Open(inner, top.message)
    if found.is_repeated:
        return _Open(inner, getattr(top.message, name).add())
    single = getattr(top.message, name)
    single.SetInParent()
    return _Open(inner, single)


def _close(stack: list[_Open]) -> None:
    done = stack.pop()
    if not stack or (done.entries is not None and done.message is None):
        raise _Unusual


def _put(top: _Open, name: str, kind: str, written: str) -> None:
    found = top.known.get(name)
    if found is None or found.message_type is not None:
        raise _Unusual
    value = _value(found, kind, written)
    if top.entries is None:
        if found.is_repeated:
            getattr(top.message, name).append(value)
        else:
            setattr(top.message, name, value)
    elif name == "key" and top.key is None:
        top.key = value
    elif name == "value" and top.key is not None and top.message is None:
        top.entries[top.key] = value
        top.message = top.entries
    else:
        raise _Unusual


def _value(found: FieldDescriptor, kind: str, written: str) -> Any:
    if found.enum_type is not None:
        return found.enum_type.values_by_name[written].number if kind == "word" else _number_of(found, int(written))
    match found.cpp_type, kind:
        case (FieldDescriptor.CPPTYPE_FLOAT, "int" | "float"):
            return _single(written)
        case (FieldDescriptor.CPPTYPE_BOOL, "word"):
            return _TRUTH[written]
        case (FieldDescriptor.CPPTYPE_STRING, "string"):
            data = _unescaped(written)
            return data if found.type == FieldDescriptor.TYPE_BYTES else data.decode()
        case (FieldDescriptor.CPPTYPE_BOOL, _):
            raise _Unusual
        case (_, "int"):
            return int(written)
        case _:
            raise _Unusual


def _single(written: str) -> float:
    digits = written.lstrip("-")
    if digits != "0" and digits[0] == "0" and digits.isdigit():
        raise _Unusual  # octal
    value = as_float32(float(written))
    if math.isinf(value) and "inf" not in written:
        raise _Unusual
    return value


def _number_of(found: FieldDescriptor, number: int) -> int:
    if found.enum_type is None or number not in found.enum_type.values_by_number:
        raise _Unusual
    return number


def _unescaped(text: str) -> bytes:
    data = text.encode()
    return _ESCAPE.sub(_byte, data) if b"\\" in data else data


def _byte(escape: re.Match[bytes]) -> bytes:
    octal, hexadecimal, simple = escape.groups()
    if octal is not None:
        return _BYTES[int(octal, 8)]
    return _BYTES[int(hexadecimal, 16)] if hexadecimal is not None else _SIMPLE[simple]
