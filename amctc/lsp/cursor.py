"""What stands where in a text that is still being written: it need not parse.

Words are told apart as a reader would: one with `:` or a bracket after it is a field's name, one after
`:` is a value. Nothing here raises, whatever the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from amctc.source import SourceFile
from amctc.text.prototext_tree import TextField, TextMessage, TextScalar
from amctc.text.syntax import MAX_DEPTH

Role = Literal["name", "value"]

_TOKEN = re.compile(
    r"""
    [#](?P<comment>[^\n]*)
    | (?P<string>
        "[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*(?:"|\\?\Z|\\?(?=[\r\n]))
        | '[^'\\\r\n]*(?:\\[^\r\n][^'\\\r\n]*)*(?:'|\\?\Z|\\?(?=[\r\n]))
      )
    | (?P<word>[^\s#"'{}<>\[\],;:]+)
    | (?P<sign>[{}<>\[\],;:])
    """,
    re.VERBOSE,
)
_NAME_FOLLOWS = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*[:{<]")


Names: TypeAlias = "dict[str, Names]"
"""Every name in a message, whichever of its occurrences it is in, with the names below it."""


@dataclass
class Message:
    """A message as far as it is written: its place below the root, and the names in it with where they begin."""

    path: tuple[str, ...]
    written: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where the cursor is.

    `message` is the message around it, `name` the field whose value is here (None where a field's
    name belongs). `start` and `end` are the ends of the word or of the string's inside under the
    cursor (equal where there is none); `quoted` says that it is a string, `closed` that its quote is.
    """

    message: Message
    role: Role
    name: str | None
    start: int
    end: int
    quoted: bool = False
    closed: bool = False

    def word(self, text: str) -> str:
        """What is under the cursor."""
        return text[self.start : self.end]


class _Scan:
    """Reads a whole text, and notes the place of one offset in passing; of none where it is None."""

    def __init__(self, text: str, offset: int | None) -> None:
        self._text = text
        self._offset = offset if offset is not None else -1
        self.names: Names = {}
        self.place: Place | None = None
        self._found = offset is None
        self._message = Message(())
        self._names = self.names
        self._open: list[tuple[Message, Names, bool]] = []
        self._name: str | None = None
        self._colon = False
        self._in_list = False
        self._end = 0
        self._last: str | None = None  # the kind of the last token, and where it ended

    def run(self) -> None:
        for token in _TOKEN.finditer(self._text):
            kind = token.lastgroup
            # A word begins under the cursor already; other tokens do when the cursor is after their first character.
            if token.start() > self._offset or (token.start() == self._offset and kind != "word"):
                self._between()
            if kind == "comment":
                if token.start() < self._offset <= token.end():
                    self._found = True
                continue
            if kind == "string":
                self._string(token)
            elif kind == "word":
                kind = self._word(token)
            else:
                self._sign(token)
            self._last, self._end = kind, token.end()
        self._between()

    def _put(self, place: Place | None) -> None:
        if not self._found:
            self.place, self._found = place, True

    def _string(self, token: re.Match[str]) -> None:
        start, end = token.span()
        closed = end - start > 1 and self._text[end - 1] == self._text[start]
        inside = start + 1, end - 1 if closed else end
        if inside[0] <= self._offset <= inside[1]:
            self._put(Place(self._message, "value", self._name, *inside, quoted=True, closed=closed))
        self._colon = False

    def _word(self, token: re.Match[str]) -> str:
        start, end = token.span()
        follows = _NAME_FOLLOWS.match(self._text, end) is not None
        is_name = follows or not (self._in_list or self._colon)
        role: Role = "name" if is_name else "value"
        if start <= self._offset <= end:
            self._put(Place(self._message, role, None if is_name else self._name, start, end))
        if is_name:
            self._name = token[0]
            self._message.written.append((token[0], start))
            self._names.setdefault(token[0], {})
        elif not self._in_list:
            self._name = None
        self._colon = False
        return role

    def _sign(self, token: re.Match[str]) -> None:
        sign = token[0]
        if sign == ":":
            self._colon = self._name is not None
        elif sign == "[":
            self._in_list = self._name is not None
        elif sign == "]":
            self._in_list, self._name, self._colon = False, None, False
        elif sign in "{<":
            self._open.append((self._message, self._names, self._in_list))
            path = self._message.path
            # No policy is that deep; beyond it all messages are one.
            if len(path) < MAX_DEPTH:
                self._message = Message((*path, self._name or ""))
                self._names = self._names.setdefault(self._name, {}) if self._name is not None else {}
            self._in_list, self._name, self._colon = False, None, False
        elif sign in "}>":
            if self._open:
                inner = self._message.path
                self._message, self._names, self._in_list = self._open.pop()
                self._name = inner[-1] if self._in_list and inner else None
                self._colon = False
        elif not self._in_list:
            self._name, self._colon = None, False

    def _between(self) -> None:
        """The cursor is where no token is, unless its place is known already."""
        if self._found:
            return
        same_line = "\n" not in self._text[self._end : self._offset]
        if (self._last == "name" and same_line) or (self._last == "string" and self._end == self._offset):
            self._put(None)
        elif self._in_list or (self._colon and same_line):
            self._put(Place(self._message, "value", self._name, self._offset, self._offset))
        else:
            self._put(Place(self._message, "name", None, self._offset, self._offset))


def look(text: str, offset: int | None) -> tuple[Place | None, TextMessage]:
    """Where an offset is (see `place_at`), and the tree of all names (see `rough_tree`)."""
    scan = _Scan(text, offset)
    scan.run()
    return scan.place, _tree(SourceFile("", text), scan.names)


def place_at(text: str, offset: int) -> Place | None:
    """Where an offset is; None inside a comment, and where neither a name nor a value belongs."""
    return look(text, offset)[0]


def rough_tree(text: str) -> TextMessage:
    """A tree of the names in a text, each once in a message: enough to tell what kind of file it is."""
    return look(text, None)[1]


def _tree(source: SourceFile, names: Names) -> TextMessage:
    nowhere = source.span(0, 0)
    fields: list[TextField] = []
    for name, inner in names.items():
        value = _tree(source, inner) if inner else TextScalar("int", 0, nowhere)
        fields.append(TextField(name, nowhere, value, nowhere))
    return TextMessage(tuple(fields), nowhere)
