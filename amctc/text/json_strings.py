"""String literals of JSON."""

from __future__ import annotations

import json
import re

_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(?P<bad>u.{0,4}|.))', re.DOTALL)


def bad_escape(literal: str) -> re.Match[str] | None:
    """The first escape sequence of a literal, quotes included, that JSON does not have."""
    if "\\" not in literal:
        return None
    return next((match for match in _ESCAPE.finditer(literal) if match["bad"] is not None), None)


def decode_string(literal: str) -> str | None:
    """The text of a literal without bad escapes; None where these make half a surrogate pair."""
    if "\\" not in literal:
        return literal[1:-1]
    decoded: str = json.loads(literal)
    return None if any(0xD800 <= ord(char) < 0xE000 for char in decoded) else decoded
