"""The JSON Schemas of the layer configs, as data, and which keys they know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

from amctc.text.json_tree import JsonArray, JsonNode, JsonObject

Fragment: TypeAlias = Mapping[str, Any]

JSON_SCHEMA: Final = "amct_caffe_ptq.schema.json"


@cache
def layer_config_schema(name: str = JSON_SCHEMA) -> Mapping[str, Any]:
    """One of the schemas in `grammar/schema`, as data."""
    text = files("amctc.grammar").joinpath("schema", name).read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


@cache
def parameter_names(name: str = JSON_SCHEMA) -> tuple[str, ...]:
    """The keys at the root that are not layers."""
    return tuple(layer_config_schema(name)["properties"])


def known_keys(root: JsonNode, name: str) -> Iterator[bool]:
    """Whether a schema has each key, at any depth; what is under no key of it does not count.

    A word that is none of its choices counts as a key that it lacks. Every branch of the schema
    counts, whatever the text says elsewhere. A key at the root that could be a layer's is not known
    where its value is not an object.
    """
    shape = _shape(name)
    if not isinstance(root, JsonObject):
        return
    for member in root.members:
        named = member.key in shape.keys
        yield named or isinstance(member.value, JsonObject)
        if named or isinstance(member.value, JsonObject):
            yield from _known(member.value, shape.inside(member.key))


def has_key(name: str, path: Sequence[str | int], key: str) -> bool:
    """Whether a schema has a key in the object at a path of a text; at the root, a parameter."""
    shape: _Shape | None = _shape(name)
    for step in path:
        shape = shape.inside(step) if shape is not None else None
    return shape is not None and key in shape.keys


@dataclass(frozen=True)
class _Shape:
    """What a schema has at one place, all its branches together.

    `keys` of an object, and what any other key of it has; `items` of a list; `words` to choose from.
    """

    keys: Mapping[str, _Shape]
    others: _Shape | None
    items: _Shape | None
    words: frozenset[str]

    def inside(self, step: str | int) -> _Shape | None:
        """What there is under a key or an index."""
        return self.items if isinstance(step, int) else self.keys.get(step, self.others)


def _known(node: JsonNode, shape: _Shape | None) -> Iterator[bool]:
    if shape is None:
        return
    if isinstance(node, JsonArray):
        for item in node.items:
            yield from _known(item, shape.items)
    elif isinstance(node, JsonObject):
        for member in node.members:
            inner = shape.inside(member.key)
            yield inner is not None
            yield from _known(member.value, inner)
    elif shape.words and isinstance(node.value, str) and node.value not in shape.words:
        yield False


@cache
def _shape(name: str) -> _Shape:
    schema = layer_config_schema(name)
    return _shape_of(schema, [schema])


def _shape_of(schema: Fragment, starts: Sequence[Fragment]) -> _Shape:
    fragments = list(_branches(schema, starts))
    keys: dict[str, list[Fragment]] = {}
    for fragment in fragments:
        for key, value in fragment.get("properties", {}).items():
            keys.setdefault(key, []).append(value)
    others = [found for f in fragments if isinstance(found := f.get("additionalProperties"), dict)]
    items = [fragment["items"] for fragment in fragments if "items" in fragment]
    return _Shape(
        {key: _shape_of(schema, values) for key, values in keys.items()},
        _shape_of(schema, others) if others else None,
        _shape_of(schema, items) if items else None,
        frozenset(word for f in fragments for word in f.get("enum", ()) if isinstance(word, str)),
    )


def _branches(schema: Fragment, fragments: Sequence[Fragment]) -> Iterator[Fragment]:
    """Fragments, what they refer to and both ways of their conditions."""
    for fragment in fragments:
        yield fragment
        yield from _branches(schema, [fragment[way] for way in ("then", "else") if way in fragment])
        if "$ref" in fragment:
            yield from _branches(schema, [schema["$defs"][str(fragment["$ref"]).rpartition("/")[2]]])
