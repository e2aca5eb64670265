"""What there is to say of the word under the cursor."""

from __future__ import annotations

from dataclasses import dataclass

from amctc.diagnostics import DiagnosticError
from amctc.lsp.completion import LAYER_NAMES, takes_selectors
from amctc.lsp.cursor import Place, look
from amctc.lsp.fields import Field, comments, field_at, flavour_of
from amctc.lsp.near_model import NearModel
from amctc.policy.flavours import Flavour
from amctc.policy.pattern_syntax import PatternError
from amctc.policy.selectors import is_selector, read_selector
from amctc.source import SourceFile
from amctc.text.prototext import parse_prototext
from amctc.text.prototext_tree import TextScalar

MOST_SHOWN = 20
"""Names of layers under one pattern."""


@dataclass(frozen=True)
class Hover:
    """Markdown about the characters `start` (included) to `end` (excluded)."""

    text: str
    start: int
    end: int


def hover(text: str, offset: int, model: NearModel | None) -> Hover | None:
    """The documentation of the field, or of the value, at an offset of a policy."""
    place, names = look(text, offset)
    if place is None or place.start == place.end:
        return None
    word = place.word(text)
    flavour = flavour_of(text, names)
    if place.role == "name":
        field = field_at(flavour, place.message.path, word)
        said = _field(flavour, place, field) if field is not None else None
    else:
        said = _value(flavour, place, text, model)
    return Hover(said, place.start, place.end) if said else None


def _field(flavour: Flavour, place: Place, field: Field) -> str:
    lines = [f"**`{field.name}`**: {field.type}" + (f", {field.times}" if field.times else ""), ""]
    if field.doc:
        lines += [field.doc, ""]
    if field.range:
        lines.append(f"- range: {field.range}")
    if field.descriptor.enum_type is not None:
        lines.append("- values: " + ", ".join(f"`{word}`" for word in field.words))
    if field.default:
        lines.append(f"- default: {field.default}")
    oneof = field.descriptor.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        others = ", ".join(f"`{other.name}`" for other in oneof.fields if other.name != field.name)
        lines.append(f"- instead of: {others}")
    lines.append(f"- in: `{'.'.join(place.message.path) or field.message}`, of {flavour.title}")
    return "\n".join(lines)


def _value(flavour: Flavour, place: Place, text: str, model: NearModel | None) -> str | None:
    word = _string(text, place) if place.quoted else place.word(text)
    field = field_at(flavour, place.message.path, place.name) if place.name is not None else None
    if field is None:
        return None
    enum = field.descriptor.enum_type
    if enum is not None and word in field.words:
        doc = comments(flavour.cfg_schema).get(f"{enum.name}.{word}", "")
        return f"**`{word}`**: a value of `{enum.name}`" + (f"\n\n{doc}" if doc else "")
    if field.name in LAYER_NAMES and model is not None and word in model.layers:
        return f"**`{word}`**: a layer of type `{model.layers[word]}` in `{model.path.name}`"
    if model is not None and is_selector(word) and takes_selectors(flavour, field, place):
        return _matches(word, model)
    return None


def _matches(selector: str, model: NearModel) -> str | None:
    """The layers that a pattern stands for, a few of them by name."""
    try:
        pattern = read_selector(selector)
    except PatternError:
        return None
    names = [name for name in model.layers if pattern is not None and pattern.matches(name)]
    shown = ", ".join(f"`{name}`" for name in names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
    return f"**`{selector}`**: {len(names)} of {len(model.layers)} layers in `{model.path.name}`\n\n{shown}"


def _string(text: str, place: Place) -> str:
    """What the string under the cursor says, its escapes read; nothing where it is not one yet."""
    mark = text[place.start - 1]
    try:
        (entry,) = parse_prototext(SourceFile("", f"x: {mark}{place.word(text)}{mark}")).fields
    except DiagnosticError:
        return ""
    value = entry.value
    decoded = value.value if isinstance(value, TextScalar) else b""
    return decoded.decode(errors="replace") if isinstance(decoded, bytes) else ""
