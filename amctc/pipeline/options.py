"""The options of a pass are the fields of its dataclass: read from text, checked by type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import get_type_hints

from amctc.diagnostics import did_you_mean, error
from amctc.pipeline.pass_ import Pass
from amctc.source import Span


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a pass, for help texts: its name as written in a pipeline, type and default."""

    name: str
    type: str
    default: str


def options_of(kind: type[Pass]) -> tuple[Option, ...]:
    """The options of a pass, in the order of its fields."""
    hints = get_type_hints(kind)
    return tuple(
        Option(field.name.replace("_", "-"), hints[field.name].__name__, str(field.default))
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]  # every pass is a dataclass
    )


def build_pass(kind: type[Pass], options: Mapping[str, tuple[str, Span | None]]) -> Pass:
    """A pass from options as text. Raises `DiagnosticError` (AM502, AM503) at the option."""
    hints = get_type_hints(kind)
    fields = {option.name: option.name.replace("-", "_") for option in options_of(kind)}
    values: dict[str, object] = {}
    for name, (text, span) in options.items():
        if name not in fields:
            known = f"it has {', '.join(fields)}" if fields else "it has none"
            help = did_you_mean(name, fields) or known
            raise error("AM502", f"the pass `{kind.name}` has no option `{name}`", span, help=help)
        wanted = hints[fields[name]]
        try:
            values[fields[name]] = _convert(text, wanted)
        except ValueError:
            message = f"the option `{name}` of `{kind.name}` takes {_WORDS[wanted]}, not `{text}`"
            raise error("AM503", message, span) from None
    return kind(**values)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def _convert(text: str, wanted: type) -> object:
    if wanted is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if wanted is int:
        return int(text)
    if wanted is float:
        return float(text)
    return text
