"""What a text has against the JSON Schema of its flavour, in our words and at the place in the text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from amctc.diagnostics import Collector, Diagnostic
from amctc.policy.flavours import Flavour, KeyPath, key_hint
from amctc.policy.json_schema import has_key, layer_config_schema, parameter_names
from amctc.policy.limits import LIMITS
from amctc.policy.said import nearest
from amctc.source import Span
from amctc.text.json_tree import JsonMember, JsonNode, JsonObject, key_span_at, node_at, to_python

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

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

_ALGORITHM_OF: Mapping[str, str] = {
    "max_iteration": '"wts_algo":"snq_quantize"',
    "min_distance": '"wts_algo":"snq_quantize"',
    "init_algo": '"wts_algo":"snq_quantize"',
    "num_iteration": '"wts_algo":"ada_quantize"',
    "reg_param": '"wts_algo":"ada_quantize"',
    "beta_range": '"wts_algo":"ada_quantize"',
    "warm_start": '"wts_algo":"ada_quantize"',
    "num_of_bins": '"act_algo":"hfmg"',
    "max_percentile": '"act_algo":"ifmr"',
    "min_percentile": '"act_algo":"ifmr"',
    "search_range": '"act_algo":"ifmr"',
    "search_step": '"act_algo":"ifmr"',
    "prune_ratio": '"prune_type":"filter_prune"',
    "ascend_optimized": '"prune_type":"filter_prune"',
    "n_out_of_m_type": '"prune_type":"selective_prune"',
    "update_freq": '"prune_type":"selective_prune"',
}
"""What makes an object take a parameter that another form of it does not have."""


@cache
def _validator(schema: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(layer_config_schema(schema))


def validate(root: JsonNode, flavour: Flavour, collector: Collector) -> None:
    """Report everything in which a text differs from the schema of a flavour, the first thousand findings of it.

    AM200 unknown key, AM201 wrong type, AM203 unknown word, AM204 missing key, AM210 out of range,
    AM215 a range that is not two numbers, AM216 joint quantization, AM228 a root key that can be
    neither a parameter nor a layer.
    """
    validator = _validator(flavour.json_schema)
    if validator.is_valid(to_python(_without_repeats(root, parameter_names(flavour.json_schema)))):
        return
    errors: Iterable[ValidationError] = validator.iter_errors(to_python(root))
    teller = _Teller(root, flavour)
    for found in islice(errors, _MOST_FINDINGS):
        for diagnostic in teller.diagnostics(found):
            collector.add(diagnostic)


def _without_repeats(root: JsonNode, parameters: Collection[str]) -> JsonNode:
    """Without the layers whose entries are written as another layer's, letter for letter, as most are.

    The schema is the same for all layers, so that what is left is valid if and only if the whole is.
    """
    if not isinstance(root, JsonObject):
        return root
    seen: set[str] = set()
    left: list[JsonMember] = []
    for member in root.members:
        if member.key not in parameters:
            text = member.value.span.text
            if text in seen:
                continue
            seen.add(text)
        left.append(member)
    return JsonObject(tuple(left), root.span)


class _Places:
    """Where the parts of a text stand, by their paths; the many keys at the root are indexed."""

    def __init__(self, root: JsonNode) -> None:
        self._root = root
        self._members = {m.key: m for m in root.members} if isinstance(root, JsonObject) else {}

    def of_value(self, path: KeyPath) -> Span:
        member = self._members.get(str(path[0])) if path else None
        node = node_at(member.value, path[1:]) if member is not None else None
        return node.span if node is not None else self._root.span

    def of_key(self, path: KeyPath) -> Span:
        member = self._members.get(str(path[0]))
        if member is None:
            return self._root.span
        return member.key_span if len(path) == 1 else key_span_at(member.value, path[1:]) or member.key_span


class _Teller:
    """Says what one finding of the validator means."""

    def __init__(self, root: JsonNode, flavour: Flavour) -> None:
        self._places = _Places(root)
        self._flavour = flavour
        self._parameters = parameter_names(flavour.json_schema)

    def diagnostics(self, found: ValidationError) -> Iterable[Diagnostic]:
        path: KeyPath = tuple(found.absolute_path)
        span = self._places.of_value(path)
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        keyword = str(found.validator)
        instance: Any = found.instance
        wanted: Any = found.validator_value
        if keyword == "additionalProperties":
            yield from self._unknown_keys(found, path)
        elif keyword == "type":
            if len(path) == 1 and name not in self._parameters:
                yield self._not_a_layer(name, self._places.of_key(path))
                return
            words = _TYPE_WORDS[str(wanted)]
            if path[-1:] == ("activation_quant_params",):
                words += ", or a list of such objects"
            item = "every item of " if path and isinstance(path[-1], int) else ""
            subject = f"{item}`{name}`" if name else "a layer config"
            yield Diagnostic("AM201", f"{subject} must be {words}, but {_found(instance)} was found", span=span)
        elif keyword == "enum":
            yield from _not_a_choice(name, instance, list(wanted), span)
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
            were = "was" if len(instance) == 1 else "were"
            message = f"`{name}` must be two numbers, its start and its end, but {len(instance)} {were} found"
            yield Diagnostic("AM215", message, span=span)
        elif keyword == "required":
            missing = ", ".join(f"`{key}`" for key in wanted if key not in instance)
            subject = f"`{name}`" if isinstance(path[-1], str) else f"an entry of `{name}`"
            yield Diagnostic("AM204", f"{subject} needs {missing}", span=span)
        elif keyword == "dependentRequired":
            alone = (
                (key, other) for key in wanted if key in instance for other in wanted[key] if other not in instance
            )
            for key, other in alone:
                place = self._places.of_key((*path, key))
                yield Diagnostic("AM204", f"`{key}` needs `{other}` beside it", span=place)
        else:
            yield Diagnostic("AM209", found.message[:1].lower() + found.message[1:300].rstrip("."), span=span)

    def _unknown_keys(self, found: ValidationError, path: KeyPath) -> Iterable[Diagnostic]:
        schema: Any = found.schema
        known = tuple(schema["properties"])
        instance: Any = found.instance
        where = next((step for step in reversed(path) if isinstance(step, str)), "the file")
        for key in instance:
            if key in known:
                continue
            yield Diagnostic(
                "AM200",
                f"`{where}` has no parameter `{key[:60]}`",
                span=self._places.of_key((*path, key)),
                help=self._help(path, key, known),
            )

    def _help(self, path: KeyPath, key: str, known: tuple[str, ...]) -> str:
        if has_key(self._flavour.json_schema, path, key):
            return f"`{_ALGORITHM_OF[key]}` has that parameter"
        hint = key_hint(self._flavour, path, key) or nearest(key, known)
        return hint or "it has " + ", ".join(f"`{name}`" for name in known)

    def _not_a_layer(self, name: str, span: Span) -> Diagnostic:
        return Diagnostic(
            "AM228",
            f"`{name[:60]}` is not a parameter, and the entry of a layer would be an object",
            span=span,
            help=key_hint(self._flavour, (), name) or nearest(name, self._parameters),
        )


def _not_a_choice(name: str, instance: object, choices: list[str | int], span: Span) -> Iterable[Diagnostic]:
    help = "one of " + ", ".join(f"`{choice}`" for choice in choices)
    if all(isinstance(choice, int) for choice in choices):
        if _is_number(instance):  # a wrong type is told by another finding
            message = f"`{name}` must be one of {', '.join(str(choice) for choice in choices)}, not {_short(span)}"
            yield Diagnostic("AM210", message, span=span)
    elif not isinstance(instance, str):
        message = f"`{name}` must be a string, but {_found(instance)} was found"
        yield Diagnostic("AM201", message, span=span, help=help)
    else:
        message = f"`{instance[:60]}` is not a value of `{name}`"
        help = nearest(instance, [str(choice) for choice in choices]) or help
        yield Diagnostic("AM203", message, span=span, help=help)


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
