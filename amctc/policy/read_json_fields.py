"""Parts of a JSON tree as values with their places.

A value of the wrong type is told by the schema; here it counts as not written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from amctc.policy.rules_data import DataRule
from amctc.policy.said import Said
from amctc.text.json_tree import JsonArray, JsonMember, JsonNode, JsonObject, JsonScalar

_GRANULARITIES = ("per_tensor", "per_channel")


def data_rule(node: JsonNode) -> DataRule:
    """The data rule of an object that has its parameters, in any flavour."""
    fields = values(node)
    start, end = ends(fields.get("search_range"))
    asymmetric = boolean(fields.get("asymmetric"))
    granularity = integer(fields.get("quant_granularity"))
    return DataRule(
        search_range_start=start,
        search_range_end=end,
        search_step=number(fields.get("search_step")),
        max_percentile=number(fields.get("max_percentile")),
        min_percentile=number(fields.get("min_percentile")),
        num_bits=integer(fields.get("num_bits")),
        with_offset=boolean(fields.get("with_offset")) or asymmetric,
        algorithm=string(fields.get("act_algo")),
        num_of_bins=integer(fields.get("num_of_bins")),
        asymmetric=asymmetric,
        quant_granularity=_granularity(granularity) if granularity is not None else None,
    )


def _granularity(said: Said[int]) -> Said[str] | None:
    return Said(_GRANULARITIES[said.value], said.span) if said.value in (0, 1) else None


def ends(node: JsonNode | None) -> tuple[Said[float] | None, Said[float] | None]:
    """The two numbers of a range, or None for both."""
    if not isinstance(node, JsonArray) or len(node.items) != 2:
        return None, None
    return number(node.items[0]), number(node.items[1])


def members(node: JsonNode) -> tuple[JsonMember, ...]:
    return node.members if isinstance(node, JsonObject) else ()


def values(node: JsonNode) -> dict[str, JsonNode]:
    return {member.key: member.value for member in members(node)}


def strings(node: JsonNode | None) -> Iterator[Said[str]]:
    for item in node.items if isinstance(node, JsonArray) else ():
        said = string(item)
        if said is not None:
            yield said


def boolean(node: JsonNode | None) -> Said[bool] | None:
    if isinstance(node, JsonScalar) and isinstance(node.value, bool):
        return Said(node.value, node.span)
    return None


def integer(node: JsonNode | None) -> Said[int] | None:
    if not isinstance(node, JsonScalar) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, int) or (isinstance(node.value, float) and node.value.is_integer()):
        return Said(int(node.value), node.span)  # JSON Schema takes 8.0 for a whole number
    return None


def number(node: JsonNode | None) -> Said[float] | None:
    if not isinstance(node, JsonScalar) or isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return None
    try:
        return Said(float(node.value), node.span)
    except OverflowError:
        # A whole number of hundreds of digits; where it is allowed at all, no larger one makes a difference.
        return Said(sys.float_info.max if node.value > 0 else -sys.float_info.max, node.span)


def string(node: JsonNode | None) -> Said[str] | None:
    if isinstance(node, JsonScalar) and isinstance(node.value, str):
        return Said(node.value, node.span)
    return None
