"""The tree of a JSON text: values with their places, and how to find one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from typing import TypeAlias

from amctc.source import Span
from amctc.text.bulk import value_type

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonNode: TypeAlias = "JsonObject | JsonArray | JsonScalar"


@value_type
class JsonScalar:
    """A string, a number, a boolean or null."""

    value: bool | int | float | str | None
    span: Span = field(compare=False, repr=False)


@value_type
class JsonArray:
    items: tuple[JsonNode, ...]
    span: Span = field(compare=False, repr=False)


@value_type
class JsonMember:
    """One `"key": value` of an object; `key_span` includes the quotes."""

    key: str
    key_span: Span = field(compare=False, repr=False)
    value: JsonNode


@value_type
class JsonObject:
    """Members in the order written; no key is there twice."""

    members: tuple[JsonMember, ...]
    span: Span = field(compare=False, repr=False)

    def get(self, key: str) -> JsonNode | None:
        """The value of a key, or None."""
        return next((member.value for member in self.members if member.key == key), None)


def to_python(node: JsonNode) -> Json:
    """The value without places."""
    if isinstance(node, JsonObject):
        return {member.key: to_python(member.value) for member in node.members}
    if isinstance(node, JsonArray):
        return [to_python(item) for item in node.items]
    return node.value


def node_at(node: JsonNode, path: Collection[str | int]) -> JsonNode | None:
    """What keys and indexes lead to from a node, or None."""
    found: JsonNode | None = node
    for step in path:
        if isinstance(found, JsonObject) and isinstance(step, str):
            found = found.get(step)
        elif isinstance(found, JsonArray) and isinstance(step, int) and 0 <= step < len(found.items):
            found = found.items[step]
        else:
            return None
    return found


def span_at(node: JsonNode, path: Collection[str | int]) -> Span | None:
    """The place of what a path leads to, or None."""
    found = node_at(node, path)
    return found.span if found is not None else None


def key_span_at(node: JsonNode, path: tuple[str | int, ...]) -> Span | None:
    """The place of the key that ends a path, or None."""
    parent = node_at(node, path[:-1])
    if not isinstance(parent, JsonObject):
        return None
    return next((member.key_span for member in parent.members if member.key == path[-1]), None)
