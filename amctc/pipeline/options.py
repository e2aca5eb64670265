"""The options of a pass or a target are the fields of its dataclass: read from text, checked by type and range."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from amctc.diagnostics import Diagnostic, DiagnosticError, did_you_mean, error
from amctc.pipeline.configured import Configured, option_name, option_text
from amctc.pipeline.pass_ import Pass
from amctc.source import Span

T = TypeVar("T")
Kind = TypeVar("Kind", bound=Configured)
Number: TypeAlias = int | float

_METADATA = "amctc.option"
_SHOWN = 40
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
_INT = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")


class OptionError(ValueError):
    """A field that cannot be an option: a mistake of whoever wrote the pass or the target."""


@dataclasses.dataclass(frozen=True)
class _Said:
    help: str
    least: Number | None
    most: Number | None


def option(default: T, *, help: str = "", least: Number | None = None, most: Number | None = None) -> T:
    """A field of a pass or a target: its default, what it does, and for numbers the least and the most that it may be.

    `bits: int = option(8, help="bits of a weight", least=4, most=8)`
    """
    said = _Said(help, least, most)
    return dataclasses.field(default=default, metadata={_METADATA: said})


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a pass, for help texts: its name, type and default as they are written in a text.

    `type` is bool, int, float, str or choice; `choices` are the words of a choice.
    """

    name: str
    type: str
    default: str
    help: str = ""
    choices: tuple[str, ...] = ()
    least: Number | None = None
    most: Number | None = None


def options_of(kind: type[Configured]) -> tuple[Option, ...]:
    """The options of a pass or a target, in the order of its fields; none for a class that is no dataclass.

    Raises `OptionError` for a field that cannot be one.
    """
    return tuple(field.option for field in _fields(kind).values())


class OptionText(NamedTuple):
    """The value of an option as it is written, where, and where its name is."""

    text: str
    span: Span | None
    name_span: Span | None = None


def configure(kind: type[Kind], options: Mapping[str, OptionText]) -> Kind:
    """A pass or a target from options as text; in their names `_` is as good as `-`.

    Raises `DiagnosticError` at the option: AM502 for one that there is not or that is given twice, AM503 for a value
    of another type or out of range, or one that the class itself refuses with a `ValueError` or a `DiagnosticError`.
    """
    fields = _fields(kind)
    what = f"the {'pass' if issubclass(kind, Pass) else 'target'} `{kind.name}`"
    values: dict[str, object] = {}
    for given, (text, span, name_span) in options.items():
        name = option_name(given)
        if name not in fields:
            known = f"it has {', '.join(fields)}" if fields else "it has none"
            help = did_you_mean(name, fields) or known
            raise error("AM502", f"{what} has no option `{given}`", name_span, help=help)
        field = fields[name]
        if field.name in values:
            raise error("AM502", f"the option `{name}` is given twice", name_span)
        try:
            values[field.name] = field.read(text)
        except ValueError:
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            message = f"the option `{name}` of {what} takes {field.takes}, not `{shown}`"
            near = did_you_mean(text[:_SHOWN], field.choices) if field.choices else None
            raise error("AM503", message, span, help=near) from None
    place = next((given.span for given in options.values()), None)
    try:
        return kind(**values)
    except ValueError as refusal:  # of its `__post_init__`
        raise error("AM503", f"{what} refuses its options: {refusal}", place) from refusal
    except DiagnosticError as refusal:
        raise DiagnosticError(*(_placed(found, place) for found in refusal.diagnostics)) from refusal


def _placed(found: Diagnostic, span: Span | None) -> Diagnostic:
    return found if found.span is not None else dataclasses.replace(found, span=span)


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field that is an option. `choices` are the values of a choice by their words, empty for another type."""

    name: str
    type: type[Any] | None
    choices: Mapping[str, object]
    default: object
    said: _Said

    @property
    def takes(self) -> str:
        if self.type is None:
            *rest, last = (f"`{word}`" for word in self.choices)
            return f"{', '.join(rest)} or {last}" if rest else last
        return f"{_WORDS[self.type]}{self._range}"

    @property
    def _range(self) -> str:
        least, most = self.said.least, self.said.most
        if least is not None:
            return f" from {least} to {most}" if most is not None else f" from {least} on"
        return f" up to {most}" if most is not None else ""

    @property
    def option(self) -> Option:
        kind = "choice" if self.type is None else self.type.__name__
        said = self.said
        words = tuple(self.choices)
        name, default = option_name(self.name), option_text(self.default)
        return Option(name, kind, default, said.help, words, said.least, said.most)

    def read(self, text: str) -> object:
        """The value of a text. Raises `ValueError`."""
        if self.type is None:
            if text not in self.choices:
                raise ValueError(text)
            return self.choices[text]
        found = _read(text, self.type)
        self.check(found)
        return found

    def check(self, value: object) -> None:
        """Raise `ValueError` for a value of another type, or out of range."""
        if self.type is None:
            fits = value in self.choices.values()
        elif self.type is float:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else:
            fits = type(value) is self.type
        least, most = self.said.least, self.said.most
        if fits and isinstance(value, int | float):
            fits = (least is None or value >= least) and (most is None or value <= most)
        if not fits:
            raise ValueError(value)


def _read(text: str, wanted: type[Any]) -> object:
    if wanted is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if wanted is int:
        if _INT.fullmatch(text) is None:
            raise ValueError(text)
        return int(text)
    if wanted is float:
        if _FLOAT.fullmatch(text) is None:
            raise ValueError(text)
        return float(text)
    return text


def _fields(kind: type[Configured]) -> Mapping[str, _Field]:
    """The options by their names in a text."""
    if not dataclasses.is_dataclass(kind):
        return {}
    try:
        hints = _hints(kind)
    except Exception as failure:  # a type is any expression
        raise OptionError(f"the type of a field cannot be read: {type(failure).__name__}: {failure}") from failure
    return {
        option_name(field.name): _field(field, hints[field.name]) for field in dataclasses.fields(kind) if field.init
    }


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields; to read them takes longer than to read the options from a text."""
    return get_type_hints(kind)


def _field(field: dataclasses.Field[Any], hint: object) -> _Field:
    said = field.metadata.get(_METADATA, _Said("", None, None))
    kind, choices = _type(hint)
    if kind is None and not choices:
        raise OptionError(
            f"the option `{field.name}` is a {_name(hint)}: bool, int, float, str, Literal or Enum can be"
        )
    if field.default is dataclasses.MISSING:
        raise OptionError(f"the option `{field.name}` has no default: write `{field.name}: {_name(hint)} = …`")
    found = _Field(field.name, kind, choices, field.default, said)
    if (said.least, said.most) != (None, None) and kind not in (int, float):
        raise OptionError(f"the option `{field.name}` is no number and has no range")
    try:
        found.check(field.default)
    except ValueError:
        raise OptionError(f"the option `{field.name}` takes {found.takes}, its default is {field.default!r}") from None
    return found


def _type(hint: object) -> tuple[type[Any] | None, Mapping[str, object]]:
    if get_origin(hint) is Literal:
        values = get_args(hint)
        words = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
        return None, {option_text(value): value for value in values} if words else {}
    if not isinstance(hint, type):
        return None, {}
    if issubclass(hint, Enum):
        return None, {option_text(member): member for member in hint}
    return (hint if hint in _WORDS else None), {}


def _name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
