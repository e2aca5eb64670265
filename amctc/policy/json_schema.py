"""The JSON Schema of the layer config, and its findings in our words, at the place in the text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from amctc.diagnostics import Collector, Diagnostic
from amctc.policy.limits import LIMITS
from amctc.policy.said import nearest
from amctc.source import Span
from amctc.text.json_source import JsonNode, JsonObject, key_span_at, node_at, to_python

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

Path: TypeAlias = tuple[str | int, ...]

JSON_SCHEMA = "amct_caffe_ptq.schema.json"
_MOST_FINDINGS = 1000

_TYPE_WORDS: Mapping[str, str] = {
    "object": "an object in `{ }`",
    "array": "a list in `[ ]`",
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "`true` or `false`",
}
_LARGEST_USEFUL = 1e9  # a larger bound is told only to who goes beyond it
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@cache
def layer_config_schema() -> Mapping[str, Any]:
    """The schema as data."""
    text = files("amctc.grammar").joinpath("schema", JSON_SCHEMA).read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


@cache
def parameter_names() -> tuple[str, ...]:
    """The keys at the root that are not layers."""
    return tuple(layer_config_schema()["properties"])


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(layer_config_schema())


def validate(root: JsonNode, collector: Collector) -> None:
    """Report everything in which a text differs from the schema, the first thousand findings of it.

    AM200 unknown key, AM201 wrong type, AM203 unknown word, AM204 missing key, AM210 out of range,
    AM215 a search range that is not two numbers, AM216 joint quantization, AM228 a root key that can
    be neither a parameter nor a layer.
    """
    errors: Iterable[ValidationError] = _validator().iter_errors(to_python(root))
    places = _Places(root)
    for found in islice(errors, _MOST_FINDINGS):
        for diagnostic in _diagnostics(places, found):
            collector.add(diagnostic)


class _Places:
    """Where the parts of a text stand, by their paths; the many keys at the root are indexed."""

    def __init__(self, root: JsonNode) -> None:
        self._root = root
        self._members = {m.key: m for m in root.members} if isinstance(root, JsonObject) else {}

    def of_value(self, path: Path) -> Span:
        member = self._members.get(str(path[0])) if path else None
        node = node_at(member.value, path[1:]) if member is not None else None
        return node.span if node is not None else self._root.span

    def of_key(self, path: Path) -> Span:
        member = self._members.get(str(path[0]))
        if member is None:
            return self._root.span
        return member.key_span if len(path) == 1 else key_span_at(member.value, path[1:]) or member.key_span


def _diagnostics(places: _Places, found: ValidationError) -> Iterable[Diagnostic]:
    path: Path = tuple(found.absolute_path)
    span = places.of_value(path)
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    keyword = str(found.validator)
    instance: Any = found.instance
    wanted: Any = found.validator_value
    if keyword == "additionalProperties":
        yield from _unknown_keys(places, found, path)
    elif keyword == "type":
        if len(path) == 1 and name not in parameter_names():
            yield _not_a_layer(name, places.of_key(path))
            return
        words = _TYPE_WORDS[str(wanted)]
        if path[-1:] == ("activation_quant_params",):
            words += ", or a list of such objects"
        item = "every item of " if path and isinstance(path[-1], int) else ""
        subject = f"{item}`{name}`" if name else "a layer config"
        yield Diagnostic("AM201", f"{subject} must be {words}, but {_found(instance)} was found", span=span)
    elif keyword == "enum":
        choices: list[str] = list(wanted)
        help = "one of " + ", ".join(f"`{choice}`" for choice in choices)
        if not isinstance(instance, str):
            message = f"`{name}` must be a string, but {_found(instance)} was found"
            yield Diagnostic("AM201", message, span=span, help=help)
        else:
            message = f"`{instance[:60]}` is not a value of `{name}`"
            yield Diagnostic("AM203", message, span=span, help=nearest(instance, choices) or help)
    elif keyword == "const" and name == "version" and _is_number(instance):
        yield Diagnostic("AM210", f"`version` must be {LIMITS['version']}, not {_short(span)}", span=span)
    elif keyword == "const" and name == "joint_quant" and instance is True:
        message = "`joint_quant` is accepted only when it is `false`"
        yield Diagnostic("AM216", message, span=span, help="take the line out, or write `false`")
    elif keyword == "const":
        return  # a wrong type, which is told already
    elif keyword in _BOUNDS:
        yield Diagnostic("AM210", f"`{name}` must be {_range_words(found)}, not {_short(span)}", span=span)
    elif keyword in ("minItems", "maxItems"):
        message = f"`{name}` must be two numbers, its start and its end, but {len(instance)} were found"
        yield Diagnostic("AM215", message, span=span)
    elif keyword == "required":
        missing = ", ".join(f"`{key}`" for key in wanted if key not in instance)
        yield Diagnostic("AM204", f"an entry of `{name}` needs {missing}", span=span)
    else:
        yield Diagnostic("AM209", found.message[:1].lower() + found.message[1:300].rstrip("."), span=span)


def _unknown_keys(places: _Places, found: ValidationError, path: Path) -> Iterable[Diagnostic]:
    schema: Any = found.schema
    known = tuple(schema["properties"])
    instance: Any = found.instance
    where = next((step for step in reversed(path) if isinstance(step, str)), "the file")
    for key in instance:
        if key in known:
            continue
        help = nearest(key, known)
        if where == "weight_quant_params" and key in ("max_iteration", "min_distance", "init_algo"):
            help = '`"wts_algo":"snq_quantize"` has that parameter'
        yield Diagnostic(
            "AM200",
            f"`{where}` has no parameter `{key[:60]}`",
            span=places.of_key((*path, key)),
            help=help or "it has " + ", ".join(f"`{name}`" for name in known),
        )


def _not_a_layer(name: str, span: Span) -> Diagnostic:
    return Diagnostic(
        "AM228",
        f"`{name[:60]}` is not a parameter, and the entry of a layer would be an object",
        span=span,
        help=nearest(name, parameter_names()),
    )


def _range_words(found: ValidationError) -> str:
    schema: Any = found.schema
    words: list[str] = []
    if "minimum" in schema and schema["minimum"] == schema.get("maximum"):
        return str(schema["minimum"])
    for key, word in zip(_BOUNDS, ("at least", "at most", "above", "below"), strict=True):
        beyond_use = key == "maximum" and schema.get(key, 0) > _LARGEST_USEFUL and found.validator != key
        if key in schema and not beyond_use:
            words.append(f"{word} {schema[key]}")
    words.sort(key=lambda text: text.startswith(("at most", "below")))
    return " and ".join(words)


def _found(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "`null`"
    if isinstance(value, (int, float)):
        return "a number"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(span: Span) -> str:
    text = span.text
    return text if len(text) <= 40 else text[:37] + "..."
