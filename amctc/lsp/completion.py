"""What may be written where the cursor is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from amctc.dialects.table import op_table
from amctc.lsp.cursor import Place, look, place_at
from amctc.lsp.fields import Field, comments, field_at, fields_at, flavour_of, open_fields
from amctc.lsp.near_model import NearModel
from amctc.policy.flavours import Flavour
from amctc.policy.layer_types import TYPE_LIMITS
from amctc.quant.snq_settings import INIT_ALGOS
from amctc.registry import current_registry
from amctc.text.literals import quote

Kind = Literal["field", "message", "value", "layer", "type"]

LAYER_NAMES = frozenset(
    {
        "layer_name",
        "skip_layers",
        "skip_fusion_layers",
        "quant_layers",
        "quant_skip_layers",
        "regular_prune_skip_layers",
    }
)
"""Fields whose values are names of layers, in whichever message they stand."""

LAYER_TYPES = frozenset({"layer_type", "skip_layer_types", "quant_skip_types", "regular_prune_skip_types"})
"""Fields whose values are types of layers."""


SELECTORS: Mapping[str, str] = MappingProxyType(
    {"glob:": "names of a pattern with * and ?", "regex:": "names that a regular expression matches"}
)
"""How a name begins that stands for many, and what it stands for."""


@dataclass(frozen=True)
class Suggestion:
    """One thing that may be written.

    `text` takes the place of the characters `start` (included) to `end` (excluded). In a snippet,
    `$0` in `text` is where the cursor goes. `detail` is short, `doc` is Markdown.
    """

    label: str
    kind: Kind
    start: int
    end: int
    text: str
    snippet: str = ""
    detail: str = ""
    doc: str = ""


def complete(text: str, offset: int, model: NearModel | None) -> tuple[Suggestion, ...]:
    """Everything that may be written at an offset of a policy, in the order in which to offer it."""
    place, names = look(text, offset)
    if place is None:
        return ()
    flavour = flavour_of(text, names)
    if place.role == "name":
        return tuple(_names(flavour, place))
    if place.name is None:
        return ()
    field = field_at(flavour, place.message.path, place.name)
    return tuple(_values(flavour, field, place, model)) if field is not None else ()


def is_value(text: str, offset: int) -> bool:
    """Whether a value belongs at an offset."""
    place = place_at(text, offset)
    return place is not None and place.role == "value"


def _names(flavour: Flavour, place: Place) -> Iterator[Suggestion]:
    for field in open_fields(fields_at(flavour, place.message.path), place.message, place.start):
        opened, text, snippet = f"{field.name}: ", f"{field.name}: ", ""
        if field.is_message:
            text, snippet = f"{field.name} {{}}", f"{field.name} {{\n  $0\n}}"
        elif field.type == "string":
            text, snippet = f'{opened}""', f'{opened}"$0"'
        kind: Kind = "message" if field.is_message else "field"
        yield Suggestion(field.name, kind, place.start, place.end, text, snippet, detail(field), field.doc)


def _values(flavour: Flavour, field: Field, place: Place, model: NearModel | None) -> Iterator[Suggestion]:
    if field.is_message:
        return
    if field.type != "string":
        enum = field.descriptor.enum_type
        for word in field.words if not place.quoted else ():
            doc = comments(flavour.cfg_schema).get(f"{enum.name}.{word}", "") if enum is not None else ""
            mark = "default" if word == field.default else ""
            yield Suggestion(word, "value", place.start, place.end, word, "", mark, doc)
        if not field.words and field.default and not place.quoted and place.start == place.end:
            yield Suggestion(field.default, "value", place.start, place.end, field.default, "", "default")
        return
    for word, kind, what in _strings(flavour, field, place, model):
        literal = quote(word.encode())
        if place.quoted:
            literal = literal[1:] if not place.closed else literal[1:-1]
        yield Suggestion(word, kind, place.start, place.end, literal, "", what)
    if takes_selectors(flavour, field, place):
        for prefix, what in SELECTORS.items():
            text = prefix if place.quoted else f'"{prefix}"'
            snippet = f"{prefix}$0" if place.quoted else f'"{prefix}$0"'
            yield Suggestion(prefix, "value", place.start, place.end, text, snippet, what)


def _strings(flavour: Flavour, field: Field, place: Place, model: NearModel | None) -> Iterable[tuple[str, Kind, str]]:
    """Strings that a field may have, what they are, and a word about each."""
    if field.name in LAYER_NAMES:
        return ((name, "layer", kind) for name, kind in (model.layers.items() if model is not None else ()))
    if field.name in LAYER_TYPES:
        return _types(model, TYPE_LIMITS.get(flavour.name, ()))
    if field.name == "init_algo":
        return ((name, "value", "default" if name == field.default else "") for name in INIT_ALGOS)
    if field.name == "name" and place.message.path == ("pass",):
        return ((name, "value", "") for name in current_registry().passes)
    return ()


def takes_selectors(flavour: Flavour, field: Field, place: Place) -> bool:
    """Whether one value of the field may stand for many layers."""
    path = place.message.path
    named = field.name in ("skip_layers", "skip_fusion_layers") and not path
    return flavour.kind == "ptq" and (named or (*path, field.name) == ("override_layer_configs", "layer_name"))


def _types(model: NearModel | None, others: Iterable[str]) -> Iterator[tuple[str, Kind, str]]:
    """Those of the model first, with how many layers have them; then the others that can be quantized."""
    there: dict[str, int] = {}
    for kind in model.layers.values() if model is not None else ():
        there[kind] = there.get(kind, 0) + 1
    known = {row.type: row for row in op_table().values() if row.dialect == "caffe" and row.quantizable is not None}
    for kind in known:
        if kind in there:
            yield kind, "type", f"{there[kind]} in the model"
    for kind, row in known.items():
        if kind not in there:
            yield kind, "type", row.summary
    for kind in others:
        if kind not in known:
            yield kind, "type", "of PyTorch"


def detail(field: Field) -> str:
    """The type of a field, its range and its default, on one line."""
    parts = [field.type, field.times, field.range, f"default {field.default}" if field.default else ""]
    return ", ".join(part for part in parts if part)
