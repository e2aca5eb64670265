"""A shortcut for JSON that nothing is wrong with.

One regular expression a value is ten times as fast as the grammar. The grammar in `grammar/json.lark`
stays the definition: whatever is wrong is left to it, so that it tells what and where, and tests hold
the two to the same trees.
"""

from __future__ import annotations

import math
import re
from typing import Final

from amctc.source import SourceFile
from amctc.text.json_strings import bad_escape, decode_string
from amctc.text.json_tree import JsonArray, JsonMember, JsonNode, JsonObject, JsonScalar
from amctc.text.syntax import MAX_DEPTH

_BLANK = r"[ \t\r\n\ufeff]*+"
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+"'
_VALUE = r"""
  (?:
    ([{\[])
    | (?:
        (-?(?:0|[1-9][0-9]{0,300})(?![A-Za-z0-9_.]))
        | (-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]{1,40}(?:[eE][+-]?[0-9]{1,5})?|[eE][+-]?[0-9]{1,5})(?![A-Za-z0-9_.]))
        | (STRING)
        | ((?:true|false|null)(?![A-Za-z0-9_]))
      )
      (?:BLANK,)?
  )
"""
_STEP = r"BLANK (?: KEY VALUE | (CLOSE)(?:BLANK,)? )"


def _step(key: str, close: str) -> re.Pattern[str]:
    pattern = _STEP.replace("KEY", key).replace("VALUE", _VALUE).replace("CLOSE", close)
    return re.compile(pattern.replace("STRING", _STRING).replace("BLANK", _BLANK), re.VERBOSE)


_IN_OBJECT = _step("(STRING) BLANK : BLANK", r"\}")
_IN_ARRAY = _step("()", r"\]")
_KEY, _OPEN, _INT, _FLOAT, _TEXT, _WORD, _CLOSE = range(1, 8)  # the groups of a step
_START = re.compile(_BLANK + r"(?=[{\[])")
_REST = re.compile(_BLANK)
_WORDS: Final = {"true": True, "false": False, "null": None}


class _LeftToGrammarError(Exception):
    """Something is wrong, or longer than is read here."""


def scan_json(source: SourceFile) -> JsonNode | None:
    """The tree of an object or a list; None for any other text, and for one that is wrong."""
    start = _START.match(source.text)
    if start is None:
        return None
    try:
        node, at = _container(source, start.end(), 1)
    except _LeftToGrammarError:
        return None
    ends = source.text[at - 1] != "," and _REST.fullmatch(source.text, at) is not None
    return node if ends else None


def _container(source: SourceFile, opening: int, depth: int) -> tuple[JsonNode, int]:
    """What a bracket opens, and where it ends, or the comma after it, of which more must follow."""
    if depth > MAX_DEPTH:
        raise _LeftToGrammarError
    if source.text[opening] == "{":
        return _object(source, opening, depth)
    return _array(source, opening, depth)


def _object(source: SourceFile, opening: int, depth: int) -> tuple[JsonNode, int]:
    text, match = source.text, _IN_OBJECT.match
    members: list[JsonMember] = []
    keys: set[str] = set()
    at, ends_in_comma = opening + 1, None
    while (step := match(text, at)) is not None:
        at = step.end()
        if step.lastindex == _CLOSE:
            if ends_in_comma:
                break
            return JsonObject(tuple(members), source.span(opening, step.end(_CLOSE))), at
        start, end = step.span(_KEY)
        key = _string(text[start:end])
        if key in keys or ends_in_comma is False:
            break
        keys.add(key)
        value, at = _value(source, step, at, depth)
        members.append(JsonMember(key, source.span(start, end), value))
        ends_in_comma = text[at - 1] == ","
    raise _LeftToGrammarError


def _array(source: SourceFile, opening: int, depth: int) -> tuple[JsonNode, int]:
    text, match = source.text, _IN_ARRAY.match
    items: list[JsonNode] = []
    at, ends_in_comma = opening + 1, None
    while (step := match(text, at)) is not None:
        at = step.end()
        if step.lastindex == _CLOSE:
            if ends_in_comma:
                break
            return JsonArray(tuple(items), source.span(opening, step.end(_CLOSE))), at
        if ends_in_comma is False:
            break
        value, at = _value(source, step, at, depth)
        items.append(value)
        ends_in_comma = text[at - 1] == ","
    raise _LeftToGrammarError


def _value(source: SourceFile, step: re.Match[str], at: int, depth: int) -> tuple[JsonNode, int]:
    """The value of a step, and where it ends, or the comma after it."""
    kind = step.lastindex
    if kind == _OPEN:
        return _container(source, step.start(_OPEN), depth + 1)
    start, end = step.span(kind or 0)
    text = source.text[start:end]
    value: bool | int | float | str | None
    if kind == _FLOAT:
        value = float(text)
        if math.isinf(value):
            raise _LeftToGrammarError
    elif kind == _INT:
        value = int(text)
    elif kind == _TEXT:
        value = _string(text)
    else:
        value = _WORDS[text]
    return JsonScalar(value, source.span(start, end)), at


def _string(literal: str) -> str:
    decoded = decode_string(literal) if bad_escape(literal) is None else None
    if decoded is None:
        raise _LeftToGrammarError
    return decoded
