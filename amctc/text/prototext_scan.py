"""A shortcut for plain prototexts, which most are: nothing but `name: value` and `name { … }`.

One regular expression a field is ten times as fast as the grammar, and a file of weights' scales or
ten thousand layers is read in a second. The grammar in `grammar/prototext.lark` stays the definition:
whatever is not plain, and whatever is wrong, is left to it, and tests hold the two to the same trees.
"""

from __future__ import annotations

import math
import re

from amctc.source import SourceFile, Span
from amctc.text.literals import special_float
from amctc.text.prototext_tree import TextField, TextMessage, TextScalar
from amctc.text.syntax import MAX_DEPTH

_BLANK = r"(?:[ \t\r\n\f\v\ufeff]+|[#][^\n]*)*+"
_STEP = re.compile(
    rf"""
    {_BLANK}
    (?:
      (?P<name>[A-Za-z_][A-Za-z0-9_]*+) {_BLANK}
      (?:
        :? {_BLANK} (?P<open>[{{<])
        | : {_BLANK}
          (?:
            (?P<int>-?(?:0|[1-9][0-9]{{0,300}}))(?![A-Za-z0-9_.])
            | (?P<float>-?[0-9]{{1,40}}(?:\.[0-9]{{0,40}})?(?:[eE][+-]?[0-9]{{1,5}})?)(?![A-Za-z0-9_.])
            | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
            | (?P<string>"[^"\\\n]*+"|'[^'\\\n]*+')(?!{_BLANK}["'])
          )
          (?:{_BLANK}[,;])?
      )
      | (?P<close>[}}>]) (?:{_BLANK}[,;])?
    )
    """,
    re.VERBOSE | re.ASCII,
)
_REST = re.compile(_BLANK)
_CLOSED_BY = {"{": "}", "<": ">"}
_NAME, _OPEN, _INT, _FLOAT, _WORD, _STRING, _CLOSE = range(1, 8)  # the groups of a step


def scan(source: SourceFile) -> TextMessage | None:
    """The tree of a plain text; None for any other, and for one that is wrong."""
    text = source.text
    fields: list[TextField] = []
    open_messages: list[tuple[list[TextField], str, Span, int, str]] = []
    match = _STEP.match
    span = source.span
    at = 0
    while (step := match(text, at)) is not None:
        kind = step.lastindex
        at = step.end()
        if kind == _CLOSE:
            if not open_messages:
                return None
            message_fields = fields
            fields, name, place, opening, closing = open_messages.pop()
            if step[_CLOSE] != closing:
                return None
            stop = step.end(_CLOSE)
            message = TextMessage(tuple(message_fields), span(opening, stop))
            fields.append(TextField(name, place, message, span(place.start, stop)))
            continue
        start, end = step.span(_NAME)
        place = span(start, end)
        if kind == _OPEN:
            if len(open_messages) == MAX_DEPTH:
                return None
            open_messages.append((fields, text[start:end], place, step.start(_OPEN), _CLOSED_BY[step[_OPEN]]))
            fields = []
            continue
        scalar = _scalar(source, step, kind)
        if scalar is None:
            return None
        fields.append(TextField(text[start:end], place, scalar, span(start, scalar.span.end)))
    if open_messages or _REST.fullmatch(text, at) is None:
        return None
    return TextMessage(tuple(fields), span(0, len(text)))


def _scalar(source: SourceFile, step: re.Match[str], kind: int | None) -> TextScalar | None:
    """The value of a `name: value`; None for one that the grammar must look at."""
    if kind is None:
        return None
    start, end = step.span(kind)
    place = source.span(start, end)
    written = source.text[start:end]
    if kind == _INT:
        return TextScalar("int", int(written), place)
    if kind == _WORD:
        special = special_float(written)
        return TextScalar("identifier", written, place) if special is None else TextScalar("float", special, place)
    if kind == _STRING:
        try:
            return TextScalar("string", written[1:-1].encode(), place)
        except UnicodeEncodeError:
            return None
    if written.lstrip("-").isdigit():
        return None  # octal, or a long number
    value = float(written)
    return None if math.isinf(value) else TextScalar("float", value, place)
